"""Every command of the tutorial and the how-to pages is run as written, on a running system."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.journeys.system import NURTURE, System

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {ROOT / "docs/how-to/run-in-containers.md", ROOT / "docs/how-to/run-on-kubernetes.md"}
"""Run in tests/containers and tests/kubernetes."""
PAGES = [
    page
    for folder in ("docs/tutorial", "docs/how-to")
    for page in sorted((ROOT / folder).glob("*.md"))
    if page not in ELSEWHERE
]
SHOWN_ELSEWHERE = ("pip install ",)
"""test_house installs each package alone."""


@pytest.mark.processes("the pages' commands are for an instance of this machine")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pages_commands_work_as_written(page: Path, system: System, tmp_path: Path) -> None:
    text = page.read_text()
    for name, content in re.findall(r"Save this as `([\w.]+)`:\n\n```toml\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).write_text(content)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    lines = [
        line.strip() for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    for line in filter(None, lines):
        if line.startswith(SHOWN_ELSEWHERE):
            continue
        done = subprocess.run(
            ["bash", "-ec", line.replace(".venv/bin/nurture", NURTURE)], env=system.environment, cwd=tmp_path, text=True,
            capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|\{)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
