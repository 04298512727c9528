"""`nurture`: the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nobody answers."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version

from cyclopts import App, CycloptsError

from nurture_local.commands import (
    analytics,
    bus,
    cancel,
    compose,
    db,
    demo,
    doctor,
    email,
    events,
    holds,
    kubernetes,
    people,
    run,
    sequences,
    simulate,
    trigger,
    variants,
    verify,
    watch,
    webhook,
    why,
)
from nurture_local.terminal import USAGE, Failure, console, show_failure, usage_errors


def _version() -> str:
    try:
        return version("nurture-local")
    except PackageNotFoundError:
        return "unknown"


app = App(
    name="nurture",
    help="Message sequences over email and Telegram: everything on this machine, with one command.",
    version=_version,
    console=console,
    error_console=usage_errors,
    result_action="return_value",
)
app.command(run.up)
app.command(run.down)
app.command(run.status)
app.command(run.service)
app.command(trigger.trigger)
app.command(cancel.cancel)
app.command(watch.watch)
app.command(holds.pause)
app.command(holds.resume)
app.command(people.people)
app.command(events.events)
app.command(why.score)
app.command(why.why)
app.command(sequences.sequences)
app.command(simulate.simulate)
app.command(email.email)
app.command(webhook.webhook)
app.command(analytics.analytics)
app.command(variants.variants)
app.command(bus.bus)
app.command(db.db)
app.command(compose.compose_env)
app.command(kubernetes.kube_secret)
app.command(doctor.doctor)
app.command(verify.verify)
app.command(demo.demo)
app.command(run.open_, name="open")


def call(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    try:
        code = app(arguments, exit_on_error=False)
    except CycloptsError:
        return USAGE  # cyclopts has printed what was wrong
    except Failure as failure:
        return show_failure(failure)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `nurture … | head`: the reader has seen enough; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def main() -> None:
    sys.exit(call())
