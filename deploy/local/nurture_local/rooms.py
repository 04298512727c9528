"""The rooms that have a schema, and their SQL files; found without importing a service."""

import importlib.util
import re
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

ROOMS = ("gateway", "controller", "email", "telegram", "scoring")
_VERSION = re.compile(r"^(\d+).*\.sql$")


class RoomMissing(Exception):
    """A service package is not installed in this environment."""


class RoomBroken(RoomMissing):
    """A room cannot be migrated as it is packaged."""


class Room(Struct, frozen=True):
    """`folders` hold migrations in dbmate's form, the chassis' first; `publish` is the SQL of the views or None."""

    name: str
    folders: tuple[Path, ...]
    publish: Path | None

    @property
    def role(self) -> str:
        return f"nurture_{self.name}"

    def migrations(self) -> dict[str, Path]:
        """Version → file, in order. The chassis has 0000 and counts on from 0901; what is between is the room's own.

        Raises RoomBroken when two files bear one version: only one of them would ever run.
        """
        found: dict[str, Path] = {}
        for path in (path for folder in self.folders for path in folder.glob("*.sql")):
            if match := _VERSION.match(path.name):
                if match[1] in found:
                    raise RoomBroken(f"{self.name}: {found[match[1]].name} and {path.name} have the same number")
                found[match[1]] = path
        return dict(sorted(found.items()))


def rooms() -> tuple[Room, ...]:
    """All rooms. Raises RoomMissing."""
    shared = _sql("nurture_chassis") / "migrations"
    return tuple(_room(name, shared) for name in ROOMS)


def _room(name: str, shared: Path) -> Room:
    sql = _sql(f"nurture_{name}")
    publish = sql / "publish.sql"
    folders = tuple(folder for folder in (shared, sql / "migrations") if folder.is_dir())
    return Room(name, folders, publish if publish.is_file() else None)


def _sql(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise RoomMissing(f"the package {package.replace('_', '-')} is not installed in this environment")
    return Path(spec.origin).parent / "sql"


def fingerprint(found: tuple[Room, ...], *more: str) -> str:
    """Changes whenever a migration, a publish.sql or one of `more` changes."""
    digest = sha256()
    for room in found:
        files = [*room.migrations().values(), *([room.publish] if room.publish else [])]
        for path in files:
            digest.update(f"{room.name}/{path.name}\0".encode())
            digest.update(sha256(path.read_bytes()).digest())
    for text in more:
        digest.update(sha256(text.encode()).digest())
    return digest.hexdigest()[:32]
