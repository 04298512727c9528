"""Searches files for words that must not be there: secrets, and people's addresses."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

PIECE = 4 * 1024 * 1024
LONGEST_ADDRESS = 320
_ADDRESS = re.compile(rb"[A-Za-z0-9._%+'-]+@[A-Za-z0-9.-]+|(?<![0-9A-Za-z])-?[0-9]{6,20}(?![0-9A-Za-z])")


class Hit(Struct, frozen=True, kw_only=True):
    """`label` stands in a file at a byte. The label names what was found and is never itself a secret."""

    path: str
    offset: int
    label: str


def below(paths: Iterable[Path]) -> list[Path]:
    """Every file of these files and folders, in order; links are not followed."""
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(one for one in path.rglob("*") if one.is_file() and not one.is_symlink())
        elif path.is_file():
            found.add(path)
    return sorted(found)


def search(files: Iterable[Path], needles: Mapping[str, str], *, piece: int = PIECE) -> Iterator[Hit]:
    """Where any of `needles`, by label, stands. Files are read a piece at a time; one that goes away is left out."""
    wanted = {label: needle.encode() for label, needle in needles.items() if needle}
    overlap = max((len(needle) for needle in wanted.values()), default=1) - 1
    for path, start, text in _pieces(files, piece, overlap):
        for label, needle in wanted.items():
            at = text.find(needle)
            while at >= 0:
                # What lies wholly in the overlap was found with the piece before.
                if start == 0 or at + len(needle) > overlap:
                    yield Hit(path=str(path), offset=start + at, label=label)
                at = text.find(needle, at + 1)


def personal(files: Iterable[Path], known: frozenset[str], *, piece: int = PIECE) -> Iterator[Hit]:
    """Where any of the addresses in `known` (in lower case; chats by their number) stands. They are not shown."""
    for path, start, text in _pieces(files, piece, LONGEST_ADDRESS):
        for found in _ADDRESS.finditer(text):
            fresh = start == 0 or found.end() > LONGEST_ADDRESS
            if fresh and found[0].decode("latin-1").lower() in known:
                yield Hit(path=str(path), offset=start + found.start(), label="a person's address")


def addresses_in(text: bytes, known: frozenset[str]) -> set[str]:
    """Those of `known` that stand in `text`."""
    return {found for match in _ADDRESS.finditer(text) if (found := match[0].decode("latin-1").lower()) in known}


def _pieces(files: Iterable[Path], piece: int, overlap: int) -> Iterator[tuple[Path, int, bytes]]:
    """A file's pieces with where they begin; each begins with the end of the one before, `overlap` bytes of it."""
    for path in files:
        try:
            with path.open("rb") as file:
                yield from ((path, start, text) for start, text in _read(file, piece, overlap))
        except FileNotFoundError:
            continue


def _read(file: BinaryIO, piece: int, overlap: int) -> Iterator[tuple[int, bytes]]:
    kept, start = b"", 0
    while fresh := file.read(piece):
        text = kept + fresh
        yield start, text
        kept = text[-overlap:] if overlap else b""
        start += len(text) - len(kept)
