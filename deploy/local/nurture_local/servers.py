"""A single server for the length of a `with`: what tests and measurements use in place of the supervisor."""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from nurture_local.probes import until
from nurture_local.processes import ChildSpec


class NeverReady(Exception):
    """The server did not come up; the text ends with the last lines it said."""


@contextlib.contextmanager
def running(spec: ChildSpec, log: Path, seconds: float = 30.0) -> Iterator[subprocess.Popen[bytes]]:
    """Start the child, wait until it is ready, and stop it at the end. Raises NeverReady after `seconds`."""
    account = spec.account
    with log.open("ab") as output:
        process = subprocess.Popen(
            spec.argv,
            env=spec.env,
            cwd=spec.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    try:
        if not _run(_ready(spec, process, seconds)):
            words = log.read_text(errors="replace").splitlines()[-8:]
            raise NeverReady(f"{spec.name} did not become ready: " + "\n".join(words))
        yield process
    finally:
        stop(process, spec.stop_signal)


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM, seconds: float = 15.0) -> int:
    """Send the signal, wait, then kill the process and its session. Returns the exit code."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


async def _ready(spec: ChildSpec, process: subprocess.Popen[bytes], seconds: float) -> bool:
    asking = asyncio.create_task(until(spec.ready))
    try:
        async with asyncio.timeout(seconds):
            while process.poll() is None:
                done, _ = await asyncio.wait({asking}, timeout=0.05)
                if done:
                    asking.result()
                    return True
    except TimeoutError:
        pass
    finally:
        asking.cancel()
    return False


def _run(work: Coroutine[Any, Any, bool]) -> bool:
    # A thread of its own, because the caller's may already run an event loop.
    answer: list[bool] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            answer.append(asyncio.run(work))
        except BaseException as error:  # carried over to the caller below
            failure.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return answer[0]
