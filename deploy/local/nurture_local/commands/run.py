"""up, down, status, service, open: the life of an instance on this machine."""

import html
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import App, Parameter

from nurture_local.instance import DataDir, DataDirRefused, State
from nurture_local.terminal import UNREACHABLE, USAGE, Failure, Format, Where, console, errors, invocation, usage

service = App(name="service", help="Stop, start or restart one process.")
_START_PATIENCE = 120.0
_STOP_PATIENCE = 120.0
_QUIET = ("nats", "postgres")
"""Servers whose words go to their log only: nobody reads them before something is wrong."""


def up(
    *,
    detach: Annotated[bool, Parameter(name=["--detach", "-d"], negative=())] = False,
    port: int | None = None,
    data_dir: Where = None,
    fresh: Annotated[bool, Parameter(negative=())] = False,
    replicas: Annotated[list[str] | None, Parameter(negative=())] = None,
    speed: float | None = None,
    demo: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Start everything: NATS, PostgreSQL, the services and, without RESEND_API_KEY or SMTP_HOST, the sandbox.

    Parameters
    ----------
    detach
        Return when everything is ready; it runs on in the background.
    port
        The gateway's port. PORT, else 8001 or the next free one.
    fresh
        Delete what the data dir holds and begin anew.
    replicas
        NAME=NUMBER, like email=2. May be given several times.
    speed
        Business seconds per real second (sandbox only): 1440 makes a day pass in a minute.
    demo
        With 200 made-up people in three sequences, who open, click, answer, ignore, bounce and block; an hour passes in a
        second. Refused with live keys and where people of yours are; a second time it adds only what is missing.
    """
    from nurture_chassis.settings import SettingsError

    from nurture_local import configuration, showcase

    data = DataDir(data_dir)
    running = data.running()
    if running:
        if fresh:
            raise Failure(f"an instance runs in {data.path}", f"stop it first: {invocation()} down{data.naming}")
        if demo:
            _refuse_live(running.live)
            _refuse_people(data)
        console.print(f"Already running (pid {running.pid.pid if running.pid else '?'}):")
        status = _show_running(running)
        _refuse_changes(data, status, port, replicas or [], speed)
        if demo:
            _furnish(status)
        return 0
    try:
        settings = configuration.load()
        if demo:
            _refuse_live(settings.any_live)
            speed = showcase.SPEED if speed is None else speed
        options = configuration.Options(port=port, replicas=configuration.replicas(replicas or []), speed=speed)
        configuration.check_options(options, settings)
        if fresh:
            data.wipe()
        if demo:
            _refuse_people(data, elsewhere=settings.database_url is not None)
    except (SettingsError, DataDirRefused) as error:
        raise Failure(str(error), code=2 if isinstance(error, SettingsError) else 1) from None
    return _detached(data, options, demo) if detach else _foreground(data, options, demo)


def _refuse_changes(
    data: DataDir, status: dict[str, Any], port: int | None, replicas: list[str], speed: float | None
) -> None:
    """What was asked for and is not so: it takes effect at a start, and nobody should think that it did. Raises Failure."""
    from nurture_chassis.settings import SettingsError

    from nurture_local import configuration

    try:
        wanted = configuration.replicas(replicas)
    except SettingsError as error:
        raise Failure(str(error), code=USAGE) from None
    other = [] if port in (None, urlsplit(status["gateway"]).port) else [f"--port {port}"]
    for room, number in wanted.items():
        there = sum(name.split("-")[0] == room for name in status["processes"])
        other += [] if there == number else [f"--replicas {room}={number}"]
    other += [] if speed in (None, status["speed"]) else [f"--speed {speed:g}"]
    if other:
        raise Failure(
            f"it runs on as it was: {' '.join(other)} takes effect at a start",
            f"{invocation()} down{data.naming}, then {invocation()} up{data.naming} {' '.join(other)}",
        )


def _refuse_live(live: bool) -> None:
    if live:
        raise Failure(
            "--demo works with the sandbox only", "unset RESEND_API_KEY, SMTP_HOST and TELEGRAM_BOT_TOKEN", code=USAGE
        )


def _refuse_people(data: DataDir, *, elsewhere: bool = False) -> None:
    """Before anything is started: business time that ran ahead never goes back. Raises Failure."""
    from nurture_local import postgres, showcase
    from nurture_local.commands import db

    running = data.running()
    if running and running.own_database:
        showcase.refuse(postgres.url(running.ports["postgres"], data.known_secrets().postgres_password))
    elif elsewhere or running or (data.exists and data.state().postgres_home):
        with db.database_of(data.path) as target:
            showcase.refuse(target.url)


def _furnish(
    view: dict[str, Any], tell: Callable[[str], None] = lambda text: console.print(text, markup=False)
) -> None:
    from nurture_local import screens, showcase
    from nurture_local.gateway import Gateway, Location

    tell("The demo, of made-up people:")
    with Gateway(Location(view["gateway"], view["api_key"], False)) as gateway:
        showcase.furnish(gateway, lambda text: tell(f"  {text}"))
    tell(showcase.pace(view["speed"], invocation(), screens.naming(view)))


def _foreground(data: DataDir, options: Any, demo: bool) -> int:
    from rich.markup import escape

    from nurture_local import launch, screens
    from nurture_local.output import Terminal

    if sys.stdout.isatty():
        os.environ.setdefault("LOG_FORMAT", "text")
    colours = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
    known: dict[str, str] = {}

    def show(name: str, line: str) -> None:
        if name in _QUIET:
            return
        colour = known.setdefault(name, colours[len(known) % len(colours)])
        console.print(f"[{colour}]{name:<11}[/] {escape(line)}")

    def started(view: dict[str, Any]) -> None:
        screens.show({**view, "processes": {}})
        if demo:
            # The loop that runs the services waits for this to return.
            threading.Thread(target=bring, args=(view,), daemon=True).start()
        else:
            screens.show_next(view)
        console.print("\nCtrl-C stops everything.")

    def bring(view: dict[str, Any]) -> None:
        try:
            _furnish(view, lambda text: show("demo", text))
        except Failure as failure:
            show("demo", str(failure))

    def report(text: str) -> None:
        show("nurture", text)

    try:
        launch.run(data, options, lambda logs: Terminal(logs, show), report=report, started=started)
    except launch.AlreadyRunning as error:
        raise Failure(str(error)) from None
    except launch.EXPLAINED as error:
        raise Failure(str(error)) from None
    return 0


def _detached(data: DataDir, options: Any, demo: bool) -> int:
    from nurture_local import detached, screens

    began = time.monotonic()
    supervisor = detached.start(data, options)
    status = detached.ready(data, supervisor)
    screens.show(status)
    if supervisor.returncode is None:
        console.print(f"Ready in {time.monotonic() - began:.1f} s.")
    if demo:
        _furnish(status)
    elif supervisor.returncode is None:
        screens.show_next(status)
    return 0


def _show_running(state: State) -> dict[str, Any]:
    from nurture_local import control, screens

    status = _asked(state, "ready", seconds=_START_PATIENCE) if state.control else control.ask("", "ready")
    screens.show(status)
    return status


def _running(data: DataDir) -> State:
    try:
        state = data.running()
    except DataDirRefused as error:
        raise Failure(str(error)) from None
    if state is None:
        left = data.leftovers()
        more = [f"still there from a run that was killed: {', '.join(left)}; `{invocation()} down` ends them"]
        raise Failure(
            f"no instance runs in {data.path}",
            f"start one: {invocation()} up --detach{data.naming}",
            *(more if left else []),
            code=UNREACHABLE,
        )
    return state


def _asked(state: State, op: str, *, seconds: float = 60.0, **more: Any) -> dict[str, Any]:
    from nurture_local import control

    try:
        return control.ask(state.control, op, seconds=seconds, **more)
    except control.Unreachable as error:
        raise Failure(str(error), code=UNREACHABLE) from None


def down(*, data_dir: Where = None) -> int:
    """Stop everything, services first; what they hold is kept."""
    from nurture_local import launch
    from nurture_local.processes import alive

    data = DataDir(data_dir)
    left = data.leftovers()
    if left:
        launch.end_leftovers(left, lambda text: console.print(text, markup=False))
        ended = data.state()
        ended.pid, ended.children, ended.stopped_at = None, {}, time.time()
        data.write(ended)
        return 0
    state = data.running()
    if state is None:
        console.print(f"Nothing runs in {data.path}.")
        return 0
    _asked(state, "down")
    deadline = time.monotonic() + _STOP_PATIENCE
    while alive(state.pid):
        if time.monotonic() > deadline:
            raise Failure(f"still stopping after {_STOP_PATIENCE:g} s", f"see {data.logs / 'supervisor.log'}")
        time.sleep(0.02)
    console.print("Stopped.")
    return 0


def status(*, output: Annotated[Format, Parameter(name=["--output", "-o"])] = "table", data_dir: Where = None) -> int:
    """Show where everything is and how it is: as a table, as JSON, or as shell variables."""
    from nurture_local import screens

    screens.show(_asked(_running(DataDir(data_dir)), "status"), output)
    return 0


def open_(*, data_dir: Where = None) -> int:
    """Open the dashboard in a browser, signed in, and print the link: it works once, within five minutes."""
    import webbrowser

    from nurture_local.gateway import Gateway
    from nurture_local.terminal import write

    with Gateway.at(data_dir) as gateway:
        link = gateway.post("/admin/api/sign-in-links")["url"]
    write(link)
    if not sys.stdout.isatty():
        return 0
    page = DataDir(data_dir).path / "open.html"
    if (data_dir is None and os.environ.get("NURTURE_URL")) or not page.parent.is_dir():
        return 0
    write_leading_page(page, link)
    if not webbrowser.open(page.resolve().as_uri()):
        errors.print("No browser could be started here.")
    return 0


def write_leading_page(page: Path, link: str) -> None:
    """A page for its owner alone that leads on: in a browser's arguments everybody on this machine could read the link."""
    page.unlink(missing_ok=True)
    with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(
            f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(link)}"><title>Nurture</title>'
        )


def _act(verb: Literal["stop", "start", "restart"], names: tuple[str, ...], data_dir: Path | None) -> int:
    if not names:
        usage(f"service {verb} takes the name of a process, like email")
    state = _running(DataDir(data_dir))
    for name in names:
        answer = _asked(state, verb, seconds=120, name=name)
        if not answer["ok"]:
            raise Failure(answer["error"])
        done = {"stop": "stopped", "start": "started", "restart": "restarted"}[verb]
        console.print(f"{', '.join(answer['names'])}: {done}")
    return 0


@service.command
def stop(*names: str, data_dir: Where = None) -> int:
    """Stop a process (all replicas of it by its plain name) until it is started again."""
    return _act("stop", names, data_dir)


@service.command
def start(*names: str, data_dir: Where = None) -> int:
    """Start a stopped process and wait until it is ready."""
    return _act("start", names, data_dir)


@service.command
def restart(*names: str, data_dir: Where = None) -> int:
    """Stop a process, start it again and wait until it is ready."""
    return _act("restart", names, data_dir)
