"""An ext4 of one's own on a loop file: its power can be cut, which loses whatever was not synced, and it can be filled.

FS_IOC_SHUTDOWN with NOLOGFLUSH ends a file system as a power cut does: neither dirty pages nor the journal's open
transaction reach the disk. Mounting again replays the journal, as the next boot would.
"""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

_SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN of linux/fs.h: _IOR('X', 125, __u32)."""
_NO_LOG_FLUSH = 2
_PROGRAMS = ("mkfs.ext4", "mount", "umount")
_PATIENCE = 10.0
_LEFT_FREE = 64 * 1024

alone = pytest.mark.xdist_group("block-device")
"""For every test that mounts: one at a time, since loop devices are few and belong to the whole machine."""


class BlockDevice:
    """A mounted file system. `folder` is its root, which every account may pass through but not list."""

    def __init__(self, place: Path) -> None:
        self._image = place / "disk.img"
        self._ballast = place / "disk" / "ballast"
        self.folder = place / "disk"

    def make(self, megabytes: int) -> None:
        with self._image.open("wb") as image:
            image.truncate(megabytes * 1024 * 1024)
        # No reserve for root: full has to mean full for the account that PostgreSQL runs under and for us alike.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        self.folder.mkdir()
        self.mount()
        self.folder.chmod(0o711)

    def mount(self) -> None:
        _run("mount", "-o", "loop,noatime", str(self._image), str(self.folder))

    def unmount(self) -> None:
        """Waits for files that a process which was just killed still holds. Raises RuntimeError."""
        tick, waited = threading.Event(), 0.0
        while True:
            try:
                return _run("umount", str(self.folder))
            except RuntimeError:
                if waited > _PATIENCE:
                    raise
                tick.wait(0.05)
                waited += 0.05

    def cut(self) -> None:
        """From here on every write fails, and what was not synced never reaches the disk."""
        root = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(root, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(root)

    def boot(self) -> None:
        """What a machine does when the power is back: mount, which replays the journal."""
        self.unmount()
        self.mount()

    def fill(self) -> None:
        """Somebody else's file takes what is left of the space, but for a few blocks."""
        with self._ballast.open("ab") as file:
            space = os.statvfs(self.folder)
            free = space.f_bavail * space.f_frsize - _LEFT_FREE
            if free > 0:
                os.posix_fallocate(file.fileno(), file.tell(), free)

    def free(self) -> None:
        """That file goes away again."""
        self._ballast.unlink()

    def destroy(self) -> None:
        if self.folder.is_mount():
            try:
                self.unmount()
            except RuntimeError:
                _run("umount", "--lazy", str(self.folder))


@contextlib.contextmanager
def block_device(megabytes: int) -> Iterator[BlockDevice]:
    """A fresh file system, unmounted and deleted at the end. Skips the test where there can be none."""
    demand()
    # Not under pytest's own folder, which nobody but root may pass: PostgreSQL runs under another account.
    place = Path(tempfile.mkdtemp(prefix="nurture-disk-"))
    place.chmod(0o711)
    device = BlockDevice(place)
    try:
        device.make(megabytes)
        yield device
    finally:
        device.destroy()
        shutil.rmtree(place, ignore_errors=True)


def demand() -> None:
    """Skip where no file system can be made and cut; fail where NURTURE_REQUIRE holds the word `power`."""
    reason = _why_not()
    if reason and "power" in os.environ.get("NURTURE_REQUIRE", "").split():
        pytest.fail(f"power loss is required to be tested here, but {reason}")
    if reason:
        pytest.skip(f"power loss: {reason}")


@cache
def _why_not() -> str:
    if os.geteuid() != 0:
        return "only root may mount a file system and cut its power"
    missing = [program for program in _PROGRAMS if not shutil.which(program)]
    if missing:
        return f"this machine has no {', '.join(missing)}"
    place = Path(tempfile.mkdtemp(prefix="nurture-disk-"))
    device = BlockDevice(place)
    try:
        device.make(2)
        device.cut()
    except (RuntimeError, OSError) as error:
        return f"a trial failed: {error}"
    finally:
        device.destroy()
        shutil.rmtree(place, ignore_errors=True)
    return ""


def _run(*argv: str) -> None:
    done = subprocess.run(argv, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]}: {done.stderr.strip() or done.returncode}")
