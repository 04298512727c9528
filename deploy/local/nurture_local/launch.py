"""One run of an instance, from an empty data dir to the last child's end; also `python -m nurture_local.launch`."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from nurture_chassis.settings import SettingsError

from nurture_local import addresses, configuration, inspection, migrate, plan, publish, roles, rooms, server
from nurture_local.child import Output
from nurture_local.cluster_home import NoHome
from nurture_local.configuration import Options
from nurture_local.control import Control
from nurture_local.instance import DataDir, DataDirRefused
from nurture_local.nats import NotDurable
from nurture_local.output import LogFiles, tail
from nurture_local.plan import Plan
from nurture_local.ports import PortTaken
from nurture_local.postgres import ClusterUnusable
from nurture_local.processes import Recorded, end, record
from nurture_local.programs import ProgramMissing
from nurture_local.supervisor import StartFailed, Supervisor

EXPLAINED = (
    SettingsError,
    DataDirRefused,
    PortTaken,
    NoHome,
    ClusterUnusable,
    ProgramMissing,
    NotDurable,
    StartFailed,
    plan.Refused,
    migrate.MigrationFailed,
    server.ServerRefused,
    publish.NameTaken,
    roles.RoleForeign,
    rooms.RoomMissing,
)
"""Failures whose text tells the user what to do; anything else is a bug and shows its traceback."""

_ORDER = ("gateway", "controller", "email", "telegram", "scoring", "sandbox", "nats", "postgres")


class AlreadyRunning(Exception):
    """Another supervisor holds the data dir."""


def run(
    data: DataDir,
    options: Options,
    output: Callable[[Path], Output],
    *,
    report: Callable[[str], None],
    started: Callable[[dict[str, Any]], None],
) -> None:
    """Run until told to stop. `started` gets the view of the running instance once everything is ready.

    Raises AlreadyRunning or one of EXPLAINED; in every case no child is left behind.
    """
    settings = configuration.load()
    configuration.check_options(options, settings)
    data.create()
    if not data.lock():
        raise AlreadyRunning(f"an instance already runs in {data.path}")
    try:
        end_leftovers(data.leftovers(), report)
        made = plan.make(data, settings, options)
        asyncio.run(_run(data, made, output(data.logs), report, started))
    finally:
        data.unlock()


def end_leftovers(children: dict[str, Recorded], report: Callable[[str], None]) -> None:
    """Stop what a killed supervisor left running, services before servers."""

    def place(name: str) -> int:
        base = name.partition("-")[0]
        return _ORDER.index(base) if base in _ORDER else 0

    for name in sorted(children, key=place):
        report(f"{name} (pid {children[name].pid}) outlived an earlier run; ending it")
        end(children[name], signal.SIGINT if name == "postgres" else signal.SIGTERM, 10)


async def _run(
    data: DataDir,
    made: Plan,
    output: Output,
    report: Callable[[str], None],
    started: Callable[[dict[str, Any]], None],
) -> None:
    state = made.state
    state.pid, state.children = record(os.getpid()), {}
    socket = data.socket_path()
    state.control = str(socket)
    data.write(state)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)

    def save(children: dict[str, Recorded]) -> None:
        state.children = children
        data.write(state)

    async def prepare() -> None:
        done = await migrate.migrate(
            made.admin_url, made.secret_key, made.publish_schema, own_server=made.home is not None
        )
        if done:
            report(f"migrated: {', '.join(done)}")

    supervisor = Supervisor(made.specs, output, report=report, migrate=prepare, save=save)
    async with Control(socket, supervisor, lambda: view(data, made), stopping.set, looks(made)):
        asked_to_stop = asyncio.create_task(stopping.wait())
        starting = asyncio.create_task(supervisor.start())
        try:
            await asyncio.wait({starting, asked_to_stop}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                started(view(data, made))
                await asked_to_stop
        except StartFailed as failure:
            raise StartFailed(_with_logs(failure, data.logs), failure.culprits) from None
        finally:
            starting.cancel()
            asked_to_stop.cancel()
            await asyncio.gather(starting, asked_to_stop, return_exceptions=True)
            report("stopping")
            await supervisor.stop()
            state.pid, state.children, state.stopped_at = None, {}, time.time()
            data.write(state)
            if socket.parent.resolve() != data.path.resolve():
                socket.unlink(missing_ok=True)
                socket.parent.rmdir()
    report("stopped")


def view(data: DataDir, made: Plan) -> dict[str, Any]:
    """What `status` tells, without the processes."""
    state = made.state
    return {
        "gateway": state.gateway,
        "sandbox": state.sandbox,
        # A server of ours is for its user to look into; the password of somebody else's is not ours to show.
        "nats": ",".join(map(addresses.without_password, addresses.bus_servers(state.nats))),
        "database": made.admin_url if made.home else addresses.without_password(made.admin_url),
        "api_key": made.api_key,
        "data_dir": str(data.path.resolve()),
        "mode": state.mode,
        "speed": state.clock.speed if state.clock else 1,
    }


def looks(made: Plan) -> dict[str, Callable[[], Awaitable[dict[str, Any]]]]:
    """What `status` and `doctor` ask beside the processes."""
    environments = {spec.name: spec.env for spec in made.specs}
    mode = inspection.telegram_mode(environments.get("telegram", {}))

    async def channels() -> dict[str, Any]:
        told = await inspection.glance(made.admin_url, made.publish_schema)
        bot = None if mode == "off" else told.get("telegram")
        return {"telegram": {"mode": mode, **(bot or {})}, "holds": told.get("holds", [])}

    async def inspect() -> dict[str, Any]:
        record = await inspection.database(made.admin_url, made.secret_key, made.publish_schema)
        return {"settings": inspection.settings_in_force(environments), "record": record}

    return {"channels": channels, "inspect": inspect}


def _with_logs(failure: StartFailed, logs: Path) -> str:
    text = str(failure)
    for name in failure.culprits[:2]:
        lines = "\n    ".join(tail(logs, name))
        text += f"\n  the end of {logs / f'{name}.log'}:\n    {lines}"
    return text


def main(arguments: list[str]) -> int:
    """The detached supervisor: data dir and options as JSON; it writes to the log that is its stdout."""
    data, options = DataDir(arguments[0]), msgspec.json.decode(arguments[1], type=Options)

    def report(text: str) -> None:
        sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        sys.stdout.flush()

    try:
        run(data, options, LogFiles, report=report, started=lambda view: report(f"ready on {view['gateway']}"))
    except AlreadyRunning as error:
        report(str(error))
        return 0
    except EXPLAINED as error:
        (data.logs / "failure").write_text(str(error), encoding="utf-8")
        report(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
