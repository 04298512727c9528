"""The contracts as an earlier version had them, for today's services: each message that both know is as it was.

Messages that came since are added at the end, and modules beside the others, or today's services, which know them, could not
start; nobody says a later message here.
"""

import importlib
import inspect
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nurture_contracts
from msgspec import Struct


def write(wheel: Path, folder: Path) -> Path:
    """The package in `folder`, to stand first on a worker's path."""
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    package = folder / "nurture_contracts"
    for module in ("commands", "events"):
        text = (package / f"{module}.py").read_text()
        present: Any = importlib.import_module(f"nurture_contracts.{module}")
        later = [
            kind for name, kind in vars(present).items()
            if inspect.isclass(kind) and issubclass(kind, Struct) and kind.__module__ == present.__name__
            and f"class {name}(" not in text
        ]  # fmt: skip
        (package / f"{module}.py").write_text("\n\n".join([text, *map(inspect.getsource, later)]))
    for module in Path(nurture_contracts.__file__).parent.glob("*.py"):
        if module.name == "topology.py" or not (package / module.name).exists():
            shutil.copy(module, package)
    return folder
