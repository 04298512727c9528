"""Pure: what a check says."""

from msgspec import Struct

NO_LEDGER = "it takes a ledger"


class Bad(Struct, frozen=True):
    """An id with the reason why it stands here."""

    id: str
    why: str


class Verdict(Struct, frozen=True, kw_only=True):
    """What one check found: `bad` of `of`. `open` is not finished yet and may still come right; `listed` is no fault but
    worth naming (an `unknown`, a duplicate that a step allowed). `skipped` says why nothing could be checked."""

    check: str
    name: str
    of: int
    bad: list[Bad] = []
    open: list[Bad] = []
    listed: list[Bad] = []
    notes: list[str] = []
    skipped: str | None = None

    @property
    def ok(self) -> bool:
        """Nothing bad was found; also when nothing could be looked at."""
        return not self.bad

    @property
    def line(self) -> str:
        """The verdict in a line: `C1 duplicates: 0 of 1,234`."""
        if self.skipped is not None:
            return f"{self.check} {self.name}: not checked, {self.skipped}"
        return f"{self.check} {self.name}: {len(self.bad):,} of {self.of:,}"


def skipped(check: str, name: str, why: str) -> Verdict:
    return Verdict(check=check, name=name, of=0, skipped=why)
