"""What commands share: consoles, exit codes, and failures that are told in a sentence."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from cyclopts import Parameter
from rich.console import Console

FAILED = 1
USAGE = 2
UNREACHABLE = 3

Format = Literal["table", "json", "env"]
Where = Annotated[Path | None, Parameter(name="--data-dir", help="The instance's folder; .nurture in this folder.")]

_WIDE = 160
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
usage_errors = Console(stderr=True, highlight=False)
"""For boxes, which are cut where lines are not wrapped."""


class Failure(Exception):
    """Ends a command: a message for people, more lines if they help, and the exit code.

    `problem` is the API's answer where that was the reason.
    """

    def __init__(self, text: str, *more: str, code: int = FAILED, problem: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.more = more
        self.code = code
        self.problem = problem or {}


def contents(file: Path) -> bytes:
    """A file's bytes; `-` is standard input. Raises Failure."""
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from None


def usage(text: str) -> NoReturn:
    raise Failure(text, code=USAGE)


def show_failure(failure: Failure) -> int:
    errors.print("[bold red]✗[/]", end=" ")
    errors.print(str(failure), markup=False)
    for line in failure.more:
        errors.print(f"  {line}", markup=False)
    return failure.code


def write(text: str) -> None:
    """Plain text to stdout, exactly as given: for files, pipes and JSON."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def show_table(table: Any) -> None:
    """A table that is never cut: names are for copying, so in a pipe or a narrow terminal they go whole."""
    Console(width=max(console.width, _WIDE), highlight=False, soft_wrap=True).print(table)


def invocation() -> str:
    """How this very command is called from here: `nurture` when that is what the shell would find."""
    own = Path(sys.argv[0])
    if own.name != "nurture":
        return "nurture"
    found = shutil.which("nurture")
    if found and Path(found).resolve() == own.resolve():
        return "nurture"
    text = os.path.relpath(own)
    return shlex.quote(text if len(text) <= len(str(own)) else str(own))
