"""A supervisor in the background: started, and waited for until everything that it runs is ready."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from nurture_local import control
from nurture_local.configuration import Options
from nurture_local.instance import DataDir
from nurture_local.terminal import Failure

PATIENCE = 120.0


def start(data: DataDir, options: Options, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a supervisor, with `environ` instead of ours if given."""
    data.create()
    _failure(data).unlink(missing_ok=True)
    with (data.logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [
                sys.executable,
                *("-m", "nurture_local.launch"),
                *(str(data.path.resolve()), msgspec.json.encode(options).decode()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environ,
        )


def ready(data: DataDir, supervisor: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What `status` says once everything is ready. If the supervisor ended with 0, it found another one at work, and it is
    that one's status. Raises Failure."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            # A supervisor that was quicker than ours has the folder; then its instance is the answer.
            running = data.running()
            if supervisor.returncode == 0 and running:
                return control.ask(running.control, "ready", seconds=PATIENCE)
            failure, log = _failure(data), data.logs / "supervisor.log"
            raise Failure("Nurture did not start", failure.read_text("utf-8") if failure.exists() else f"see {log}")
        state = data.running()
        if state and state.pid and state.pid.pid == supervisor.pid and Path(state.control).exists():
            try:
                return control.ask(state.control, "ready", seconds=PATIENCE)
            except control.Unreachable:
                pass  # it may be about to fail: the next round sees its exit and its reason
        time.sleep(0.05)
    raise Failure(f"not ready after {PATIENCE:g} s; it is still trying", f"see {data.logs}")


def _failure(data: DataDir) -> Path:
    return data.logs / "failure"
