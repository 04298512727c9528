"""Images of an earlier version of the services: today's, on the contracts as they were, like F29 of the fault suite."""

import io
import tarfile
from pathlib import Path

import docker

from tests.containers.system import ROOMS
from tests.faults import earlier

PREVIOUS = Path(earlier.__file__).parent / "previous" / "nurture_contracts-0.1.0-py3-none-any.whl"
PLACE = "/earlier"
_LAID_OVER = f"FROM {{image}}\nCOPY nurture_contracts {PLACE}/nurture_contracts\nENV PYTHONPATH={PLACE}\n"


def build(client: docker.DockerClient, present: dict[str, str], run: str, folder: Path) -> dict[str, str]:
    """From the present images by service. Returns the earlier ones, tagged for `run`; whoever asks removes them."""
    package = earlier.write(PREVIOUS, folder) / "nurture_contracts"
    made: dict[str, str] = {}
    for room in ROOMS:
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            tar.add(package, "nurture_contracts", filter=_readable)
            text = _LAID_OVER.format(image=present[room]).encode()
            entry = tarfile.TarInfo("Dockerfile")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
        context.seek(0)
        made[room] = f"nurture-{room}:{run}"
        client.images.build(fileobj=context, custom_context=True, tag=made[room], rm=True)
    return made


def _readable(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.mode = 0o755 if entry.isdir() else 0o644
    return None if "__pycache__" in entry.name else entry
