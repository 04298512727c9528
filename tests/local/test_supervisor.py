"""The supervisor on small stand-ins: order, restarts, stopping, control."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from nurture_local import control
from nurture_local.child import LONGEST_PAUSE, pause
from nurture_local.nats import NotDurable
from nurture_local.output import LogFiles, Terminal, tail
from nurture_local.processes import ChildSpec, Recorded, Stage, alive, record
from nurture_local.supervisor import NoSuchChild, StartFailed, Supervisor

# Says its name, marks itself ready by a file, and leaves a line in the diary when it is told to stop.
STAND_IN = """
import pathlib, signal, sys
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def stop(*_):
    with (folder / "diary").open("a") as diary:
        diary.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("hello from", name, flush=True)
(folder / name).write_text(str(__import__("os").getpid()))
while True:
    signal.pause()
"""


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.01)


class Stand:
    """A supervisor over stand-ins in a folder."""

    def __init__(self, folder: Path, names: dict[str, Stage], **special: ChildSpec) -> None:
        self.folder = folder
        self.reports: list[str] = []
        self.saved: dict[str, Recorded] = {}
        self.migrated_when: list[str] = []
        specs = [special.get(name) or self.spec(name, stage) for name, stage in names.items()]
        self.supervisor = Supervisor(
            specs,
            LogFiles(folder),
            report=self.reports.append,
            migrate=self._migrate,
            save=self._save,
            stop_patience=10,
        )

    def spec(self, name: str, stage: Stage, **more: Any) -> ChildSpec:
        return ChildSpec(
            name=name,
            stage=stage,
            argv=(sys.executable, "-c", STAND_IN, name, str(self.folder)),
            env={"PATH": os.environ["PATH"]},
            ready=more.pop("ready", None) or self._ready(name),
            **more,
        )

    def _ready(self, name: str) -> Callable[[], Awaitable[bool]]:
        async def ready() -> bool:
            return (self.folder / name).exists()

        return ready

    async def _migrate(self) -> None:
        self.migrated_when += [name for name, child in self.supervisor.children.items() if child.pid]

    def _save(self, children: dict[str, Recorded]) -> None:
        self.saved = children

    def diary(self) -> list[str]:
        return (self.folder / "diary").read_text().split()


ALL = {"postgres": Stage.DATABASE, "nats": Stage.BUS, "email": Stage.SERVICE, "gateway": Stage.GATEWAY}


def test_servers_then_migration_then_services_and_back_in_reverse(tmp_path: Path) -> None:
    async def scene() -> None:
        stand = Stand(tmp_path, ALL)
        await stand.supervisor.start()
        assert stand.migrated_when == ["postgres", "nats"]
        assert stand.supervisor.is_ready.is_set()
        assert set(stand.saved) == set(ALL)
        assert all(alive(child) for child in stand.saved.values())
        pids = list(stand.saved.values())
        await stand.supervisor.stop()
        assert stand.diary() == ["gateway", "email", "nats", "postgres"]
        assert not any(alive(child) for child in pids)
        assert stand.saved == {}

    asyncio.run(scene())


def test_a_killed_child_comes_back_as_another_process(tmp_path: Path) -> None:
    async def scene() -> None:
        stand = Stand(tmp_path, {"email": Stage.SERVICE})
        await stand.supervisor.start()
        child = stand.supervisor.children["email"]
        first = child.pid
        (tmp_path / "email").unlink()
        os.kill(first or 0, signal.SIGKILL)
        await _until(lambda: child.pid not in (None, first) and child.state == "ready")
        assert child.restarts == 1
        assert any("SIGKILL" in report for report in stand.reports)
        assert stand.saved["email"].pid == child.pid
        await stand.supervisor.stop()

    asyncio.run(scene())


def test_a_child_that_never_gets_ready_fails_the_start_and_nothing_is_left(tmp_path: Path) -> None:
    async def scene() -> None:
        stand = Stand(tmp_path, {"nats": Stage.BUS})
        spec = stand.spec("email", Stage.SERVICE)
        broken = ChildSpec(
            name="email",
            stage=Stage.SERVICE,
            argv=(sys.executable, "-c", "import sys; sys.exit('no such table')"),
            env={},
            ready=spec.ready,
        )
        stand = Stand(tmp_path, {"nats": Stage.BUS, "email": Stage.SERVICE}, email=broken)
        with pytest.raises(StartFailed, match="email ends again and again") as failure:
            await stand.supervisor.start()
        assert failure.value.culprits == ["email"]
        assert "no such table" in tail(tmp_path, "email")
        await stand.supervisor.stop()
        assert stand.saved == {}

    asyncio.run(scene())


def test_a_start_that_takes_too_long_names_who_is_late(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async def at_once() -> bool:
        return True

    async def scene() -> None:
        stand = Stand(tmp_path, {})
        late, prompt = (
            stand.spec("email", Stage.SERVICE, ready=never),
            stand.spec("scoring", Stage.SERVICE, ready=at_once),
        )
        stand = Stand(tmp_path, {"email": Stage.SERVICE, "scoring": Stage.SERVICE}, email=late, scoring=prompt)
        with pytest.raises(StartFailed) as failure:
            await stand.supervisor.start(seconds=3)
        assert failure.value.culprits == ["email"]
        await stand.supervisor.stop()

    asyncio.run(scene())


def test_what_a_probe_finds_wrong_ends_the_start(tmp_path: Path) -> None:
    async def wrong() -> bool:
        raise NotDurable("it does not sync")

    async def scene() -> None:
        stand = Stand(tmp_path, {})
        stand = Stand(tmp_path, {"nats": Stage.BUS}, nats=stand.spec("nats", Stage.BUS, ready=wrong))
        with pytest.raises(NotDurable):
            await stand.supervisor.start()
        await stand.supervisor.stop()

    asyncio.run(scene())


def test_a_deaf_child_is_killed_with_what_it_started(tmp_path: Path) -> None:
    deaf = (
        "import pathlib, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(tmp_path)!r}, 'email').write_text(str(grandchild.pid))\n"
        "time.sleep(600)\n"
    )

    async def scene() -> None:
        stand = Stand(tmp_path, {})
        spec = ChildSpec(
            name="email",
            stage=Stage.SERVICE,
            argv=(sys.executable, "-c", deaf),
            env={},
            ready=stand._ready("email"),
        )
        stand = Stand(tmp_path, {"email": Stage.SERVICE}, email=spec)
        await stand.supervisor.start()
        await _until(lambda: (tmp_path / "email").read_text() != "")
        grandchild = record(int((tmp_path / "email").read_text()))
        await stand.supervisor.children["email"].stop(0.2)
        assert stand.supervisor.children["email"].state == "stopped"
        await _until(lambda: not alive(grandchild))

    asyncio.run(scene())


def test_control_stops_starts_and_restarts_by_name(tmp_path: Path) -> None:
    async def scene() -> None:
        stand = Stand(tmp_path, {"email": Stage.SERVICE, "email-2": Stage.SERVICE, "gateway": Stage.GATEWAY})
        await stand.supervisor.start()
        stopping = asyncio.Event()
        path = tmp_path / "control.sock"

        async def ask(op: str, **more: Any) -> dict[str, Any]:
            return await asyncio.to_thread(control.ask, path, op, **more)

        async with control.Control(path, stand.supervisor, lambda: {"gateway": "here"}, stopping.set):
            assert path.stat().st_mode & 0o777 == 0o600
            status = await ask("ready")
            assert status["gateway"] == "here"
            assert {name: process["state"] for name, process in status["processes"].items()} == {
                "email": "ready",
                "email-2": "ready",
                "gateway": "ready",
            }
            assert (await ask("stop", name="email"))["names"] == ["email-2", "email"]
            stopped = (await ask("status"))["processes"]
            assert stopped["email-2"] == {"pid": None, "state": "stopped", "stage": "service"}
            assert (await ask("start", name="email-2"))["ok"]
            before = stand.saved["gateway"].pid
            assert (await ask("restart", name="gateway"))["ok"]
            assert stand.saved["gateway"].pid != before
            assert "there are: email, email-2, gateway" in (await ask("stop", name="mail"))["error"]
            assert not (await ask("sing"))["ok"]
            assert (await ask("down"))["ok"] and stopping.is_set()
        await stand.supervisor.stop()

    asyncio.run(scene())
    with pytest.raises(control.Unreachable):
        control.ask(tmp_path / "control.sock", "status")


def test_the_terminal_shows_lines_and_keeps_them(tmp_path: Path) -> None:
    shown: list[tuple[str, str]] = []

    async def scene() -> None:
        stand = Stand(tmp_path, {"email": Stage.SERVICE})
        stand.supervisor = Supervisor(
            [stand.spec("email", Stage.SERVICE)],
            Terminal(tmp_path, lambda name, line: shown.append((name, line))),
            report=stand.reports.append,
            migrate=stand._migrate,
            save=stand._save,
        )
        await stand.supervisor.start()
        await stand.supervisor.stop()

    asyncio.run(scene())
    assert ("email", "hello from email") in shown
    assert tail(tmp_path, "email") == ["hello from email"]


def test_an_idle_supervisor_uses_no_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> int:
        stand = Stand(tmp_path, ALL)
        await stand.supervisor.start()
        selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        select, wakes = selector.select, 0

        def counted(timeout: float | None) -> Any:
            nonlocal wakes
            wakes += 1
            return select(timeout)

        child = stand.supervisor.children["gateway"]
        with monkeypatch.context() as patched:
            patched.setattr(selector, "select", counted)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_never(child.settled), 1)
        await stand.supervisor.stop()
        return wakes

    # How long it is awake says how busy the machine is; how often, what it does.
    assert asyncio.run(scene()) < 20


async def _never(condition: asyncio.Condition) -> None:
    async with condition:
        await condition.wait()


def test_names_are_listed_when_one_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(NoSuchChild, match="postgres, nats, email, gateway"):
        Stand(tmp_path, ALL).supervisor.named("mail")


def test_pauses_grow_and_are_capped() -> None:
    pauses = [pause(crashes) for crashes in range(1, 60)]
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
