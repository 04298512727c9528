"""Nothing leaves by accident: a provider's key in the shell is never used by tests, nor shown by the system."""

import subprocess
from pathlib import Path

import pytest

from tests.journeys.system import CLEAN, NURTURE, running

ROOT = Path(__file__).resolve().parents[2]
PLANTED = "re_planted_0123456789abcdef"
SIGNING = "whsec_cGxhbnRlZHBsYW50ZWRwbGFudGVkcGxhbnRlZA=="


@pytest.mark.parametrize("target", ["test", "bench"])
def test_make_strips_provider_variables(target: str) -> None:
    """What make would run, asked with a planted key: the command begins with an environment without it."""
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, text=True, capture_output=True, check=True,
        env={**CLEAN, "RESEND_API_KEY": PLANTED, "SMTP_PASSWORD": PLANTED, "TELEGRAM_BOT_TOKEN": PLANTED},
    ).stdout  # fmt: skip
    (line,) = (line for line in shown.splitlines() if "pytest" in line or "-m bench" in line)
    cleaned = line.split(".venv")[0] + " printenv"
    done = subprocess.run(
        ["bash", "-c", cleaned],
        text=True,
        capture_output=True,
        env={**CLEAN, "RESEND_API_KEY": PLANTED, "SMTP_PASSWORD": PLANTED, "TELEGRAM_BOT_TOKEN": PLANTED},
    )
    assert done.returncode == 0
    assert PLANTED not in done.stdout


def test_the_tests_own_systems_do_not_inherit_a_key() -> None:
    assert not [name for name in CLEAN if name.startswith(("RESEND_", "SMTP_", "TELEGRAM_"))]


RESEND = {
    "RESEND_API_KEY": PLANTED, "RESEND_API_URL": "http://127.0.0.1:9", "RESEND_WEBHOOK_SECRET": SIGNING,
    "FROM_EMAIL": "Nurture <hello@example.test>",
}  # fmt: skip
RELAY = {
    "EMAIL_PROVIDER": "smtp", "SMTP_HOST": "127.0.0.1", "SMTP_PORT": "9", "SMTP_USERNAME": "nurture", "SMTP_PASSWORD": PLANTED,
    "FROM_EMAIL": "Nurture <hello@example.test>",
}  # fmt: skip


@pytest.mark.parametrize(
    ("live", "mode"),
    [
        pytest.param(RESEND, "LIVE (Resend)", id="resend"),
        pytest.param(RELAY, "LIVE (SMTP)", id="smtp", marks=pytest.mark.long),
    ],
)
def test_a_live_key_is_announced_guarded_and_never_printed(live: dict[str, str], mode: str, data_dir: Path) -> None:
    """With a key the system says LIVE everywhere and a bulk trigger wants its number; the provider is a closed port."""
    with running(data_dir, env=live) as system:
        assert mode in system.cli("status").stdout
        assert system.api.get("/").json()["email"] == mode
        assert mode in system.api.get("/admin/sign-in", headers={"Accept": "text/html"}).text
        system.person("zoe", email="zoe@example.test")
        bulk = {"segment": "all", "sequence_type": "onboarding"}
        refused = system.trigger(bulk)
        assert (refused.status_code, refused.json()["people"]) == (422, 1)
        assert system.cli("trigger", "--all", "onboarding", check=False).returncode != 0
        assert system.trigger({**bulk, "confirm": 1}).status_code == 202
        shown = system.cli("status").stdout + system.cli("status", "-o", "json").stdout
        processes = "".join(
            path.read_bytes().decode(errors="replace")
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if _readable(path)
        )
        logs = "".join(path.read_text(errors="replace") for path in (data_dir / "logs").glob("*.log"))
        for place in (shown, processes, logs):
            assert PLANTED not in place


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("missing", ["RESEND_API_KEY", "RESEND_WEBHOOK_SECRET", "SECRET_KEY", "ADMIN_API_KEY"])
def test_production_refuses_to_start_without(missing: str, data_dir: Path) -> None:
    complete = {
        "ENVIRONMENT": "production", "RESEND_API_KEY": PLANTED, "RESEND_WEBHOOK_SECRET": SIGNING,
        "SECRET_KEY": "s" * 32, "ADMIN_API_KEY": "a" * 32, "FROM_EMAIL": "hello@example.test", "PUBLIC_URL": "https://example.test",
    }  # fmt: skip
    del complete[missing]
    done = subprocess.run(
        [NURTURE, "up", "--detach", "--data-dir", str(data_dir)],
        env={**CLEAN, **complete},
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert missing in done.stdout + done.stderr
    assert PLANTED not in done.stdout + done.stderr
