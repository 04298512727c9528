"""One process that has imported every service and forks it in milliseconds, where a fresh Python would take seconds.

A fault suite starts services over and over: what it measures should be their recovery, not their imports. Each fork is
a process of its own in a session of its own, with its own environment and log, so that every signal works on it as on
any other. Plain programs (nats-server, postgres) are started from here too: whoever holds this end loses nothing that
runs, and when the test process dies all of it dies.

`python -m tests.faults.forkserver` speaks lines of JSON over stdin and stdout; `Forks` is the other end.
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("nurture_gateway", "nurture_controller", "nurture_email", "nurture_telegram", "nurture_scoring")
SANDBOX = "nurture_local.sandbox"


class Forks:
    """Starts processes and tells when they end. Every method may be called from any thread.

    `first` stands before everything else on the path of what is started: another version of a package, as a folder or wheel.
    """

    def __init__(self, first: Path | None = None) -> None:
        # Compiled modules are kept: this process is the only one that imports, and it should do so once.
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
        if first is not None:
            env["PYTHONPATH"] = str(first)
        argv = [sys.executable, "-m", "tests.faults.forkserver"]
        self._server = subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._asked: dict[int, tuple[Future[int], Callable[[int], None]]] = {}
        self._running: dict[int, Callable[[int], None]] = {}
        self._last = 0
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="forks", daemon=True)
        self._reader.start()

    def start(
        self,
        *,
        log: Path,
        env: dict[str, str],
        ended: Callable[[int], None],
        module: str | None = None,
        argv: tuple[str, ...] = (),
        cwd: Path | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> int:
        """Start a module as `python -m` would, or the program `argv`. Returns the pid.

        `ended` is called, in another thread, with the exit code, or with minus the number of the signal.
        """
        answer: Future[int] = Future()
        with self._lock:
            self._last += 1
            self._asked[self._last] = answer, ended
            asked = {"id": self._last, "log": str(log), "env": env, "module": module, "argv": argv}
            asked |= {"cwd": str(cwd) if cwd else None, "uid": uid, "gid": gid}
            assert self._server.stdin is not None
            self._server.stdin.write(json.dumps(asked).encode() + b"\n")
            self._server.stdin.flush()
        return answer.result(60)

    def _read(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            said = json.loads(line)
            if "id" in said:
                answer, ended = self._asked.pop(said["id"])
                self._running[said["pid"]] = ended
                answer.set_result(said["pid"])
            else:
                self._running.pop(said["ended"])(said["code"])

    def close(self) -> None:
        """Kill what still runs."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(20)
        self._reader.join(10)
        self._server.stdout.close()


class _Preload:
    """Imports a module at a time, between requests: servers need not wait for the services' imports."""

    def __init__(self) -> None:
        self._left = [
            "nurture_chassis.service",
            f"{SANDBOX}.app",
            *(f"{one}.app" for one in MODULES),
            "tests.faults.child",
        ]

    def step(self) -> None:
        importlib.import_module(self._left.pop(0))
        if not self._left:
            gc.collect()
            # What is shared with the forks is not touched by their collectors, and so stays shared.
            gc.freeze()

    @property
    def done(self) -> bool:
        return not self._left

    def finish(self) -> None:
        while not self.done:
            self.step()


def _become(asked: dict[str, Any]) -> NoReturn:
    """In the fork: be what was asked for, and never return."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.closerange(3, 512)
        if asked["gid"] is not None:
            os.setgroups([])
            os.setgid(asked["gid"])
            os.setuid(asked["uid"])
        if asked["cwd"]:
            os.chdir(asked["cwd"])
        if asked["module"] is None:
            os.execve(asked["argv"][0], asked["argv"], asked["env"])
        os.environ.clear()
        os.environ.update(asked["env"])
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        code = importlib.import_module("tests.faults.child").run(asked["module"])
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _say(said: dict[str, int]) -> None:
    os.write(1, json.dumps(said).encode() + b"\n")


def _start(asked: dict[str, Any], running: set[int]) -> None:
    pid = os.fork()
    if pid == 0:
        _become(asked)
    running.add(pid)
    _say({"id": asked["id"], "pid": pid})


def _reap(running: set[int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        running.discard(pid)
        _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def descendants(pid: int) -> list[int]:
    """Every process below this one, children first. PostgreSQL's backends have sessions of their own."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(below for child in children for below in descendants(child))]


def kill_all(pid: int) -> None:
    """kill -9 for a process and everything below it."""
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def main() -> None:
    preload = _Preload()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    ears = selectors.DefaultSelector()
    ears.register(0, selectors.EVENT_READ)
    ears.register(woken, selectors.EVENT_READ)
    running: set[int] = set()
    heard = b""
    while True:
        ready = ears.select(None if preload.done else 0)
        if not ready:
            preload.step()
        for key, _ in ready:
            if key.fd == woken:
                os.read(woken, 512)
                _reap(running)
                continue
            data = os.read(0, 65_536)
            if not data:
                for pid in running:
                    kill_all(pid)
                return
            *lines, heard = (heard + data).split(b"\n")
            for line in lines:
                asked = json.loads(line)
                if asked["module"] is not None:
                    preload.finish()
                _start(asked, running)


if __name__ == "__main__":
    main()
