"""people import, people sample."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt

from nurture_local.terminal import FAILED, Where, console, contents, errors, write

people = App(name="people", help="Import people from CSV, or make up an audience to try things with.")
_SHOWN = 20


@people.command(name="import")
def import_(file: Annotated[Path, Parameter(allow_leading_hyphen=True)], /, *, data_dir: Where = None) -> int:
    """Create or update people from a CSV file; `-` reads standard input.

    People are found by id, external_id, then email. Bad lines are listed and left out; the exit code is then 1.
    The same file twice changes nothing.
    """
    from nurture_local.gateway import Gateway

    body = contents(file)
    with Gateway.at(data_dir) as gateway:
        done = gateway.post_text("/admin/api/users/import", body, "text/csv")
    rejected = done["rejected"]
    console.print(
        f"created {done['created']}, updated {done['updated']}, unchanged {done['unchanged']}, rejected {len(rejected)}"
    )
    for line in rejected[:_SHOWN]:
        errors.print(f"  line {line['line']}: {line['reason']}", markup=False)
    if len(rejected) > _SHOWN:
        errors.print(f"  … and {len(rejected) - _SHOWN} more")
    return FAILED if rejected else 0


@people.command
def sample(
    number: NonNegativeInt, /, *, seed: Annotated[int, Parameter(help="Another seed, other people.")] = 1
) -> int:
    """Write NUMBER made-up people as CSV to standard output.

    They live in many time zones; their addresses say what the sandbox does with a mail: +open, +click, +ignore,
    +bounce, +complain; so does the last digit of a Telegram chat id. Some have only Telegram, some no address at all.
    """
    from nurture_local import audience

    write(audience.as_csv(audience.people(number, seed)))
    return 0
