"""An instance that is made, used and gone: own ports, own folder, the sandbox as provider, no settings of the caller."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from msgspec import Struct

from nurture_local import control, detached, launch
from nurture_local.configuration import Options
from nurture_local.instance import DataDir
from nurture_local.output import tail
from nurture_local.ports import free_port
from nurture_local.terminal import Failure

_KEPT = ("PATH", "HOME", "USER", "LANG", "TMPDIR", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "PYTHONPATH")
_STOP_PATIENCE = 60.0


class Throwaway(Struct, frozen=True):
    """A running one. `status` is what `nurture status` told when it was ready."""

    data: DataDir
    status: dict[str, Any]

    def processes(self) -> dict[str, dict[str, Any]]:
        """Pid and state of every process, by name. Raises Failure."""
        try:
            return control.ask(self.data.state().control, "status")["processes"]
        except control.Unreachable as error:
            raise Failure(str(error)) from None

    def kill(self, name: str) -> int | None:
        """kill -9, as an accident would. Returns the pid that died; None when it does not run at this moment."""
        pid = self.processes()[name]["pid"]
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        return pid

    def is_back(self, name: str, not_pid: int) -> bool:
        """Whether the supervisor has replaced the process that died, and the new one is ready."""
        now = self.processes()[name]
        return now["pid"] not in (None, not_pid) and now["state"] == "ready"


@contextlib.contextmanager
def instance(env: Mapping[str, str]) -> Iterator[Throwaway]:
    """One for the length of a `with`, with these settings and no others. Raises Failure when it does not start."""
    folder = Path(tempfile.mkdtemp(prefix="nurture-demo-"))
    data = DataDir(folder)
    # An allowed list: a provider's key of the caller's cannot get in, whatever its name.
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    supervisor = detached.start(data, Options(port=free_port()), {**kept, **env})
    try:
        yield Throwaway(data, detached.ready(data, supervisor))
    except Failure as failure:
        # The logs that it may name are about to be deleted.
        raise Failure(str(failure), *failure.more, *tail(data.logs, "supervisor")) from None
    finally:
        _end(supervisor)
        launch.end_leftovers(data.leftovers(), lambda _: None)
        home = data.state().postgres_home
        for path in (home, folder):
            if path:
                shutil.rmtree(path, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.terminate()
    try:
        supervisor.wait(_STOP_PATIENCE)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()
