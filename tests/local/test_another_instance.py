"""An instance that runs in a place of its own: what it is not told to be, and how commands name it."""

import os
from pathlib import Path
from typing import Any

import pytest
from nurture_local import cli, control
from nurture_local.instance import DEFAULT_DIR, DataDir, State
from nurture_local.processes import record

pytestmark = pytest.mark.usefixtures("nowhere")
PROCESSES = {name: {"pid": 1, "state": "ready", "stage": "service"} for name in ("email", "email-2", "telegram")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance as its supervisor would show it: on port 8007, with two email processes, 60 times as fast."""
    data = DataDir(tmp_path / "the demo")
    data.create()
    data.write(State(pid=record(os.getpid()), control="there"))
    status: dict[str, Any] = {
        "gateway": "http://127.0.0.1:8007", "sandbox": "", "nats": "nats://n", "database": "postgresql://d/d", "api_key": "k",
        "data_dir": str(data.path), "mode": "sandbox", "speed": 60.0, "processes": PROCESSES,
    }  # fmt: skip
    monkeypatch.setattr(control, "ask", lambda *_, **__: status)
    return data.path


@pytest.mark.parametrize(
    ("asked", "other"),
    [
        (["--speed", "1440"], "--speed 1440"),
        (["--port", "9000"], "--port 9000"),
        (["--replicas", "email=2", "--replicas", "telegram=3"], "--replicas telegram=3"),
    ],
)
def test_what_it_cannot_be_while_it_runs_is_refused(
    place: Path, asked: list[str], other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.call(["up", "--detach", "--data-dir", str(place), *asked]) == 1
    told = capsys.readouterr().err
    assert f"it runs on as it was: {other} takes effect at a start" in told
    assert f"nurture down --data-dir '{place}', then nurture up --data-dir '{place}' {other}" in told


def test_what_it_is_already_may_be_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--speed", "60", "--port", "8007", "--replicas", "email=2"]
    assert cli.call(["up", "--detach", "--data-dir", str(place), *asked]) == 0
    assert "Already running" in capsys.readouterr().out


def test_commands_that_are_told_name_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["status", "--data-dir", str(place)]) == 0
    assert f"nurture open --data-dir '{place}' signs you in" in capsys.readouterr().out
    assert DataDir(DEFAULT_DIR).naming == "", "the usual place needs no name"
    for command in (["status"], ["why", "ada"], ["up", "--fresh"]):
        elsewhere = place if command[0] == "up" else place.parent / "elsewhere"
        assert cli.call([*command, "--data-dir", str(elsewhere)]) in (1, 3)
        assert str(elsewhere) in capsys.readouterr().err.partition("nurture ")[2], command
