"""The house rules that a machine can hold: who imports whom, what alone can be installed, what must not be here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nurture_chassis.process import LEFT_OUT

ROOT = Path(__file__).resolve().parents[2]
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=True).stdout.split("\n")[
    :-1
]
SERVICES = ("controller", "email", "telegram", "scoring", "gateway")
REQUIRED = os.environ.get("NURTURE_REQUIRE", "").split()


def test_import_rules_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "package", [*(f"nurture-{room}" for room in SERVICES), "nurture-contracts", "nurture-client", "nurture-chassis"]
)
def test_each_package_can_be_installed_and_imported_alone(package: str, tmp_path: Path) -> None:
    """Only its own dependencies are there, so a service that leans on a neighbour's fails here."""
    uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    if not Path(uv).exists():
        if "isolated" in REQUIRED:
            pytest.fail("uv is required here and was not found")
        pytest.skip("uv is not installed")
    module = package.replace("-", "_")
    names = [module] if module in ("nurture_contracts", "nurture_client", "nurture_chassis") else [f"{module}.app"]
    shown = "sorted(m for m in sys.modules if m.startswith('nurture_') and '.' not in m)"
    code = f"import importlib, sys; [importlib.import_module(n) for n in {names!r}]; print({shown})"
    done = subprocess.run(
        [uv, "run", "--isolated", "--no-dev", "--frozen", "--quiet", "--package", package, "python", "-c", code],
        cwd=ROOT, text=True, capture_output=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    others = {f"nurture_{room}" for room in SERVICES} - {module}
    assert not others & set(re.findall(r"nurture_\w+", done.stdout))


def test_files_stay_small() -> None:
    lines = {name: len((ROOT / name).read_text().splitlines()) for name in TRACKED if name.endswith(".py")}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_no_room_is_a_drawer() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
    assert not [name for name in TRACKED if drawers & set(Path(name).with_suffix("").parts)]


def test_top_level_holds_only_what_the_house_has() -> None:
    allowed = {"services", "contracts", "deploy", "tests", "docs", "bench"}
    folders = {Path(name).parts[0] for name in TRACKED if len(Path(name).parts) > 1 and not name.startswith(".")}
    assert folders <= allowed


SECRETS = re.compile(
    r"re_[A-Za-z0-9]{8,}_[A-Za-z0-9]{12,}|\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


def test_no_secret_is_in_the_repository() -> None:
    for name in TRACKED:
        path = ROOT / name
        if path.suffix in {".png", ".lock"} or not path.is_file():
            continue
        found = SECRETS.search(path.read_text(errors="replace"))
        assert not found, f"{name}: {found.group()[:12]}…" if found else ""


@pytest.mark.xdist_group("one-worker")
def test_groups_reach_the_scheduler(request: pytest.FixtureRequest) -> None:
    """Else each worker makes its own of every instance that tests share, and the suite takes twice as long."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@one-worker")


def test_long_tests_live_where_make_looks_for_them() -> None:
    looked = re.search(r"^LONG := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    found = {
        file.parent.relative_to(ROOT).as_posix()
        for file in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"\bmark\.long\b", file.read_text())
    }
    assert looked and found == set(looked[1].split())


def test_make_lets_python_keep_what_it_compiled() -> None:
    """A shell may forbid it; then each start of each process compiles every library anew."""
    told = subprocess.run(
        ["make", "--no-print-directory", "--eval", 'told: ; @echo "[$$PYTHONDONTWRITEBYTECODE]"', "told"], cwd=ROOT, text=True, capture_output=True,
        check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert told.stdout.splitlines()[-1] == "[]"


def test_services_begin_without_what_they_do_not_use(tmp_path: Path) -> None:
    """Both are installed here. The whole of each service is read, and none asks for them."""
    apps = "".join(f"import nurture_{room}.app\n" for room in SERVICES)
    (tmp_path / "told.py").write_text(
        f"import sys\n{apps}def build():\n    print([name for name in {LEFT_OUT} if sys.modules[name]])\n    raise SystemExit\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "from nurture_chassis.process import main; main('told')"],
        cwd=tmp_path, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
