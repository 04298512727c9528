"""SQL lives in `sql/queries.sql` as named blocks; code asks for a block by name and a missing one fails at once."""

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_USE = re.compile(r"\{use (\w+)\}")


def quoted(identifier: str) -> str:
    """An identifier as SQL takes it, whatever is in it."""
    return '"' + identifier.replace('"', '""') + '"'


class Queries:
    """The named blocks of one room, with `{publish}` filled in. `{use name}` stands for the text of another block."""

    def __init__(self, text: str, publish_schema: str) -> None:
        parts = _NAME.split(text.replace("{publish}", quoted(publish_schema)))
        names, bodies = parts[1::2], parts[2::2]
        if len(set(names)) != len(names):
            raise ValueError("a query name stands twice")
        blocks = {name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)}

        def whole(body: str) -> str:
            return _USE.sub(lambda used: whole(blocks[used[1]]), body)

        self._blocks = {name: whole(body) for name, body in blocks.items()}

    @classmethod
    def of(cls, package: str, publish_schema: str) -> "Queries":
        """The queries of a service package, with the chassis' own beside them."""
        own = files(package).joinpath("sql", "queries.sql").read_text(encoding="utf-8")
        shared = files("nurture_chassis").joinpath("sql", "queries.sql").read_text(encoding="utf-8")
        return cls(f"{own}\n{shared}", publish_schema)

    def __getitem__(self, name: str) -> str:
        try:
            return self._blocks[name]
        except KeyError:
            raise LookupError(f"no query named {name!r}; there are: {', '.join(sorted(self._blocks))}") from None
