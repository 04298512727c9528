"""How an instance is shown: the table after `up`, and `status` in its three formats."""

import json
import shlex
from typing import Any

from rich.markup import escape

from nurture_local.addresses import without_password
from nurture_local.commands.holds import hold_line
from nurture_local.instance import DataDir
from nurture_local.terminal import Format, console, invocation, write

_COLOURS = {"ready": "green", "starting": "yellow", "restarting": "yellow", "not ready": "yellow"}
_SERVICES = ("service", "gateway")


def as_data(status: dict[str, Any]) -> dict[str, Any]:
    """The documented shape of `status -o json`; servers stand apart from services."""
    shown = {key: status[key] for key in ("gateway", "sandbox", "nats", "database", "api_key", "data_dir")}
    services, servers = {}, {}
    for name, process in status["processes"].items():
        side = services if process["stage"] in _SERVICES else servers
        side[name] = {"pid": process["pid"], "state": process["state"]}
    more = {key: status[key] for key in ("telegram", "holds") if key in status}
    return {**shown, "services": services, "servers": servers, **more}


def as_environment(status: dict[str, Any]) -> str:
    """Lines for `eval "$(nurture status -o env)"`."""
    values = {
        "NURTURE_URL": status["gateway"],
        "NURTURE_API_KEY": status["api_key"],
        "NURTURE_SANDBOX_URL": status["sandbox"],
        "NATS_URL": status["nats"],
        "DATABASE_URL": status["database"],
        "NURTURE_DATA_DIR": status["data_dir"],
    }
    return "\n".join(f"export {key}={shlex.quote(value)}" for key, value in values.items() if value)


def show(status: dict[str, Any], form: Format = "table") -> None:
    if form == "json":
        write(json.dumps(as_data(status), indent=2))
    elif form == "env":
        write(as_environment(status))
    else:
        _show_table(status)


def _show_table(status: dict[str, Any]) -> None:
    colour = "red bold" if status["mode"].startswith("LIVE") else "cyan"
    gateway = status["gateway"]
    rows = [
        (
            "Dashboard",
            f"{gateway}/admin/dashboard  [dim]({escape(invocation() + ' open' + naming(status))} signs you in)[/]",
        ),
        ("REST API", f"{gateway}/docs"),
        *([("Inbox", f"{status['sandbox']}/")] if status["sandbox"] else []),
        ("API key", escape(status["api_key"])),
        ("email:", f"[{colour}]{escape(status['mode'])}[/]"),
        *([("telegram:", _telegram(status["telegram"]))] if "telegram" in status else []),
        *(("Held", f"[bold red]{escape(hold_line(hold))}[/]") for hold in status.get("holds", [])),
        *([("Clock", f"{status['speed']:g} times as fast as real time")] if status["speed"] != 1 else []),
        ("Bus", f"nats --server {status['nats']} sub 'nurture.>'"),
        ("Database", without_password(status["database"])),
        ("Data", escape(status["data_dir"])),
        ("Processes", _processes(status["processes"])),
    ]
    for name, value in rows:
        console.print(f"[bold]{name:<10}[/] {value}")


def _telegram(channel: dict[str, Any]) -> str:
    colour = "red bold" if channel["mode"].startswith("LIVE") else "cyan"
    shown = f"[{colour}]{escape(channel['mode'])}[/]"
    if channel.get("bot_username"):
        shown += f" @{escape(channel['bot_username'])}"
    problems = [channel.get("problem"), channel.get("parked_until") and f"parked: {channel.get('park_reason')}"]
    return shown + "".join(f" · [yellow]{escape(problem)}[/]" for problem in problems if problem)


def _processes(processes: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} [{_COLOURS.get(process['state'], 'red')}]{process['state']}[/]"
        + (f" [dim]{process['pid']}[/]" if process["pid"] else "")
        for name, process in processes.items()
    )


def show_next(status: dict[str, Any]) -> None:
    """Three commands that lead to the first messages."""
    call, where = invocation(), naming(status)
    console.print("\nNext:")
    for command in (
        f"{call} people sample 1000 > people.csv",
        f"{call} people import people.csv{where}",
        f"{call} trigger --all onboarding{where}",
    ):
        console.print(f"  {command}", markup=False)


def naming(status: dict[str, Any]) -> str:
    """What a command needs behind it to mean this instance."""
    return DataDir(status["data_dir"]).naming
