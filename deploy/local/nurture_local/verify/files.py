"""Searches files for words that must not be there."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct


class Hit(Struct, frozen=True, kw_only=True):
    """`label` stands in a file at a byte. The label names what was found and is never itself a secret."""

    path: str
    offset: int
    label: str


def files_below(paths: Iterable[Path]) -> list[Path]:
    """Every file of these files and folders, in order."""
    found: set[Path] = set()
    for path in paths:
        found.update(
            one for one in path.rglob("*") if one.is_file() and not one.is_symlink()
        ) if path.is_dir() else None
        if path.is_file():
            found.add(path)
    return sorted(found)


def search(paths: Iterable[Path], needles: Mapping[str, str]) -> Iterator[Hit]:
    """Where any of `needles`, by label, stands. Files are read a piece at a time; one that goes away is left out."""
    wanted = {label: needle.encode() for label, needle in needles.items() if needle}
    overlap = max((len(needle) for needle in wanted.values()), default=1) - 1
    for path in paths:
        try:
            with path.open("rb") as file:
                yield from _search(file, str(path), wanted, overlap)
        except FileNotFoundError:
            continue


def _search(file: object, name: str, wanted: Mapping[str, bytes], overlap: int) -> Iterator[Hit]:
    raise NotImplementedError
