"""`nurture demo crash` as docs/guarantees.md has people type it: kills, counts, and leaves nothing of anybody's touched."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.faults.forkserver import ROOT
from tests.journeys.system import CLEAN, NURTURE

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("demo")]

PEOPLE, KILLS = 80, 4
ELSEWHERE = {
    "DATABASE_URL": "postgresql://nobody:none@127.0.0.1:1/elsewhere",
    "NATS_URL": "nats://127.0.0.1:1",
    "RESEND_API_KEY": "re_of_somebody",
    "FROM_EMAIL": "somebody@example.test",
    "TELEGRAM_BOT_TOKEN": "1:of_somebody",
    "NURTURE_URL": "http://127.0.0.1:1",
    "NURTURE_API_KEY": "somebody's",
    "ENVIRONMENT": "production",
}
"""Settings of an installation that is not to be touched; whatever used one of them would fail."""


@pytest.mark.timeout(200)
def test_crash_keeps_its_word_and_cleans_up(tmp_path: Path) -> None:
    documented = re.search(
        r"^\.venv/bin/nurture (demo crash)\b", (ROOT / "docs/guarantees.md").read_text(), re.MULTILINE
    )
    assert documented
    with tempfile.TemporaryDirectory(prefix="nurture-test-") as folder:
        place = Path(folder)
        place.chmod(0o711)
        done = subprocess.run(
            [NURTURE, *documented[1].split(), "--people", str(PEOPLE), "--kills", str(KILLS), "-o", "json"],
            env={**CLEAN, **ELSEWHERE, "NURTURE_DATA_DIR": str(tmp_path / "mine"), "TMPDIR": folder},
            cwd=tmp_path, text=True, capture_output=True, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads(done.stdout)
        assert list(place.iterdir()) == [], "it left something behind"
        assert [path for path in tmp_path.iterdir() if path.name == "mine"] == []
        assert not [name for name in os.listdir("/proc") if name.isdigit() and _holds(Path("/proc", name), folder)]
    assert [kill["name"] for kill in told["kills"]][:2] in (["email", "telegram"], ["telegram", "email"])
    assert len(told["kills"]) == KILLS and all(kill["back_after"] > 0 for kill in told["kills"])
    assert told["started"] == told["people"] > PEOPLE * 0.8
    assert told["messages"]["email"] + told["messages"]["telegram"] + len(told["unknown"]) >= told["people"] * 0.9
    assert (told["duplicates"], told["missing"]) == (0, 0)
    assert {f"C{number}" for number in range(1, 14)} <= {check["check"] for check in told["checks"]}
    assert f"{told['kills'][-1]['messages']} messages sent by then" in done.stderr


def _holds(process: Path, word: str) -> bool:
    """Whether a process was started with this word."""
    try:
        return word.encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False
