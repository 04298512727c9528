"""README's commands are run, so that what it says stays true."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.journeys.system import CLEAN, NURTURE, System

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
MAKE, WALK = (block.strip().splitlines() for block in BLOCKS)


def test_the_make_commands_exist() -> None:
    """`make up` and `make test` themselves are how this test came to run; here that they are there and documented."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, text=True, capture_output=True, check=True).stdout
    for line in MAKE:
        assert line in listed


@pytest.mark.processes("test_compose.py walks in containers")
def test_the_walk_works_as_written(system: System, tmp_path: Path) -> None:
    for line in WALK:
        command = line.replace(".venv/bin/nurture", NURTURE)
        done = subprocess.run(
            ["bash", "-ec", command], env=system.environment, cwd=tmp_path, text=True, capture_output=True, timeout=120
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert len((tmp_path / "people.csv").read_text().splitlines()) == 1001
    assert sum(system.counts().values()) > 800


@pytest.mark.parametrize(
    "words", ["up --help", "down --help", "status --help", "people --help", "bus tail --help", "--help"]
)
def test_every_command_explains_itself(words: str) -> None:
    done = subprocess.run([NURTURE, *words.split()], env=CLEAN, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert "Usage" in done.stdout
