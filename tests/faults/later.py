"""A later version of the contracts, made from the present one: an item has one more field, the bus one more message.

`write` makes the package; a worker that runs on it (FAULT_LATER) says the message and hears it, as such a version would.
"""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import nurture_contracts

FIELD = "planted"
SUBJECT = "nurture.evt.controller.sequences_reviewed"
DURABLE = "scoring-sequences-reviewed"
HEARD = "later.heard"
_MESSAGE = f'''

class SequencesReviewed(Message, frozen=True, kw_only=True):
    """Said by a version that the present one does not know."""

    subject: ClassVar[str] = "{SUBJECT}"
    command_id: UUID
'''


def write(folder: Path) -> Path:
    """The package in `folder`, to stand first on a worker's path."""
    package = folder / "nurture_contracts"
    shutil.copytree(Path(nurture_contracts.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    _edit(
        package / "events.py",
        "    delivery_id: UUID\n    outcome: Outcome\n",
        f'    {FIELD}: str = "by a later version"\n',
    )
    (package / "events.py").write_text((package / "events.py").read_text() + _MESSAGE)
    _edit(package / "topology.py", "CONSUMERS = (\n", f'    _consumer("{DURABLE}", e.SequencesReviewed),\n')
    return folder


def _edit(path: Path, after: str, added: str) -> None:
    text = path.read_text()
    assert text.count(after) == 1, f"{path.name} has changed: {after!r} stands in it {text.count(after)} times"
    path.write_text(text.replace(after, after + added))


def add(module: str) -> None:
    """Let this worker say the new message, or hear it."""
    events: Any = importlib.import_module("nurture_contracts.events")
    if module == "nurture_controller":
        saying: Any = importlib.import_module("nurture_chassis.outbox").Saying
        say = saying.say

        def say_more(self: Any, message: Any, **options: Any) -> Any:
            if isinstance(message, events.CommandSettled):
                say(self, events.SequencesReviewed(command_id=message.command_id))
            return say(self, message, **options)

        saying.say = say_more
    if module == "nurture_scoring":
        app: Any = importlib.import_module("nurture_scoring.app")
        build = app.build

        def build_more() -> Any:
            service = build()
            service.bus.hear(DURABLE, _heard)
            return service

        app.build = build_more


async def _heard(message: Any) -> None:
    print(json.dumps({"event": HEARD, "command_id": str(message.command_id)}), flush=True)
