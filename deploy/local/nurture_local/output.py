"""Where the children's words go: a file each, and in the foreground also the terminal."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

LARGEST = 20_000_000
"""Bytes after which a log is put aside as NAME.log.1 when its process starts."""


def log_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


def tail(folder: Path, name: str, lines: int = 12) -> list[str]:
    """The last lines of a child's log."""
    path = log_path(folder, name)
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16_384))
        return file.read().decode(errors="replace").splitlines()[-lines:]


class LogFiles:
    """Children write straight into their files; nobody has to carry anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, name: str) -> int:
        path = log_path(self.folder, name)
        if path.exists() and path.stat().st_size > LARGEST:
            path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self, handle: int) -> None:
        os.close(handle)

    async def carry(self, name: str, stream: asyncio.StreamReader) -> None:
        raise RuntimeError(f"{name} writes into its file")


class Terminal(LogFiles):
    """Children are piped: each line goes to its file and, with its name, to `show`."""

    def __init__(self, folder: Path, show: Callable[[str, str], None]) -> None:
        super().__init__(folder)
        self._show = show

    def open(self, name: str) -> int:
        return asyncio.subprocess.PIPE

    def close(self, handle: int) -> None:
        """A pipe's end belongs to the child's transport."""

    async def carry(self, name: str, stream: asyncio.StreamReader) -> None:
        file = super().open(name)
        rest = b""
        try:
            while data := await stream.read(65_536):
                os.write(file, data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._show(name, line.decode(errors="replace"))
                rest = rest[-65_536:]
            if rest:
                self._show(name, rest.decode(errors="replace"))
        finally:
            os.close(file)
