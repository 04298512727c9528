"""The data dir: what an instance remembers between runs, and whether one is running."""

import base64
import fcntl
import os
import secrets as randomness
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import IO, TypeVar

import msgspec
from msgspec import Struct

from nurture_local import durable
from nurture_local.processes import Recorded, alive

DEFAULT_DIR = ".nurture"
_LONGEST_SOCKET_PATH = 100  # bytes; the system's limit is 104 to 108


class DataDirRefused(Exception):
    """The data dir is not ours, is in use, or cannot be read."""


class ClockOrigin(Struct, frozen=True):
    """Business time was `business` at real time `real` (Unix seconds) and ran `speed` times as fast."""

    speed: float
    real: float
    business: float


class State(Struct, kw_only=True):
    """instance.json. `pid` and `children` are of the last run and mean nothing unless they are alive."""

    nurture: int = 1
    pid: Recorded | None = None
    children: dict[str, Recorded] = {}
    control: str = ""
    mode: str = ""
    live: bool = False
    gateway: str = ""
    sandbox: str | None = None
    nats: str = ""
    database: str = ""
    own_database: bool = True
    publish_schema: str = "public"
    postgres_home: str | None = None
    ports: dict[str, int] = {}
    clock: ClockOrigin | None = None
    stopped_at: float | None = None


class Secrets(Struct, kw_only=True):
    """secrets.json: generated once, used where the environment gives none."""

    secret_key: str = ""
    admin_api_key: str = ""
    webhook_secret: str = ""
    sandbox_api_key: str = ""
    sandbox_bot_token: str = ""
    telegram_webhook_secret: str = ""
    postgres_password: str = ""

    def complete(self) -> None:
        """Make those that are missing, but for the password, which the cluster's maker makes."""
        self.secret_key = self.secret_key or randomness.token_urlsafe(48)
        self.admin_api_key = self.admin_api_key or f"nrt_{randomness.token_urlsafe(24)}"
        self.sandbox_api_key = self.sandbox_api_key or f"re_sandbox_{randomness.token_hex(12)}"
        if not self.sandbox_bot_token:
            bot_id = 7_000_000_000 + randomness.randbelow(10**9)
            self.sandbox_bot_token = f"{bot_id}:sandbox_{randomness.token_hex(16)}"
        self.telegram_webhook_secret = self.telegram_webhook_secret or randomness.token_urlsafe(32)
        if not self.webhook_secret:
            self.webhook_secret = "whsec_" + base64.b64encode(randomness.token_bytes(24)).decode()


T = TypeVar("T")


class DataDir:
    """The folder of one instance, `.nurture` unless another was named."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path or os.environ.get("NURTURE_DATA_DIR") or DEFAULT_DIR)
        self._lock: IO[bytes] | None = None

    @property
    def naming(self) -> str:
        """What a command needs behind it to mean this instance."""
        path = self.path.resolve()
        return "" if path == Path(DEFAULT_DIR).resolve() else f" --data-dir {shlex.quote(str(path))}"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def exists(self) -> bool:
        return self._state_file.is_file()

    @property
    def _state_file(self) -> Path:
        return self.path / "instance.json"

    def create(self) -> None:
        """Make the folder. As root it is passable, so that PostgreSQL's account reaches its own part."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    def state(self) -> State:
        """What was written last, or an empty state. Raises DataDirRefused."""
        return self._read(self._state_file, State) or State()

    def write(self, state: State) -> None:
        self._write(self._state_file, state)

    def secrets(self) -> Secrets:
        """The generated secrets; missing ones are made and kept."""
        path = self.path / "secrets.json"
        found = self._read(path, Secrets) or Secrets()
        before = msgspec.structs.replace(found)
        found.complete()
        if found != before:
            self.write_secrets(found)
        return found

    def write_secrets(self, secrets: Secrets) -> None:
        self._write(self.path / "secrets.json", secrets)

    def known_secrets(self) -> Secrets:
        """What is written, without making anything."""
        return self._read(self.path / "secrets.json", Secrets) or Secrets()

    def running(self) -> State | None:
        """The state of the instance that runs here; None when none does, whatever pid the file names."""
        if not self.exists:
            return None
        state = self.state()
        return state if alive(state.pid) else None

    def leftovers(self) -> dict[str, Recorded]:
        """Children that outlived a supervisor that was killed."""
        if not self.exists or self.running():
            return {}
        return {name: child for name, child in self.state().children.items() if alive(child)}

    def lock(self) -> bool:
        """Take the folder for the life of this process; False when another supervisor has it."""
        file = (self.path / "lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._lock = file
        return True

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def wipe(self) -> None:
        """Delete everything of a stopped instance. Raises DataDirRefused when it runs or the folder is not ours."""
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not self.exists:
            raise DataDirRefused(f"{self.path} has no instance.json of Nurture's, so --fresh does not delete it")
        if self.running() or self.leftovers():
            raise DataDirRefused(
                f"an instance runs in {self.path}: stop it with `nurture down{self.naming}` before --fresh"
            )
        home = self.state().postgres_home
        if home:
            shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(self.path)

    def socket_path(self) -> Path:
        """Where the control socket goes; a private folder elsewhere when the data dir's own path is too long."""
        path = self.path.resolve() / "control.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        return Path(tempfile.mkdtemp(prefix="nurture-")) / "control.sock"

    def _read(self, path: Path, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not what Nurture wrote"
            raise DataDirRefused(f"cannot read {path}: {reason}") from None

    def _write(self, path: Path, value: Struct) -> None:
        durable.write(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
