"""The harness itself, run small: it has to come to its end, and what it counts has to add up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEOPLE = 300


@pytest.mark.long
@pytest.mark.bench
@pytest.mark.timeout(120)
def test_a_small_run_reaches_everybody_once_and_ends_in_delivered_rows(tmp_path: Path) -> None:
    """A planted key proves that a measurement never talks to anybody but its own sink."""
    written = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--people", str(PEOPLE), "--only", "delivered", "--json", str(written)],
        cwd=ROOT,
        env={**os.environ, "RESEND_API_KEY": "re_planted", "RESEND_API_URL": "http://127.0.0.1:9", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = json.loads(written.read_text())
    (both,) = told["measured"]["delivered"]
    ours, bare = both["system"], both["reference"]
    assert (ours["at_provider"], ours["repeated"], ours["delivered"]) == (PEOPLE, 0, PEOPLE)
    assert (bare["at_provider"], bare["repeated"]) == (PEOPLE, 0)
    assert 0 < ours["accepted"] < ours["delivered_rows"]
    assert ours["cpu"]["email"] > 0
    assert [row["id"] for row in told["rows"]] == ["P1", "P7"]
    assert "P1" in done.stdout
