"""Files that survive a power cut: they are synced before anybody relies on them."""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_AT_ONCE = 16
"""Syncs in flight: a disk takes many together in about the time of one."""


def write(path: Path, content: bytes) -> None:
    """Replace a private file whole: after a power cut there is the old content or the new, never half or none."""
    fresh = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync(path.parent)


def rename(fresh: Path, final: Path) -> None:
    """Give a finished folder its name, once everything in it is on disk."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(sync, (path for path in (fresh, *fresh.rglob("*")) if not path.is_symlink())))
    fresh.rename(final)
    sync(final.parent)


def sync(path: Path) -> None:
    """A file's content, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
