"""Pure: how much of an answer a message got, 0 to 1, from the signals that came back for it.

The credit is the greatest of weight × human confidence over the signals, after those that only a machine can have made
are told apart. It is a function of the set of signals, so their order and repetition change nothing, and a signal that
is judged anew (a burst becomes visible with its third link) takes its credit back.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Literal

from msgspec import Struct, json
from nurture_contracts.events import EventKind, Observation
from nurture_contracts.events import Signal as Maker

from nurture_scoring.formula import Kind

Answer = Literal["opened", "clicked", "pressed", "replied"]

WEIGHT: dict[EventKind, float] = {"replied": 1.0, "pressed": 1.0, "clicked": 1.0, "opened": 0.2}
VERIFIED = frozenset({"replied", "pressed"})
"""The messenger itself vouches that a person did these."""
CONFIDENCE: dict[Maker, float] = {"human": 0.6, "unknown": 0.3, "machine": 0.0}
TOO_SOON = 7.0
"""Seconds after delivery within which nobody has read a mail: what comes earlier is a scanner."""
SCANNED: frozenset[Kind] = frozenset({"email"})
"""Where something may follow links before their reader does. A chat shows a message as it comes, and people tap at once."""
BURST_LINKS = 3
BURST_SECONDS = 2.0
KEPT = 32
"""Signals kept per message: the strongest, then the earliest, so that what is kept does not depend on order either."""


class Signal(Struct, frozen=True, kw_only=True):
    """Something that came back for a message; `at` in Unix seconds."""

    kind: Answer
    at: float
    signal: Maker = "unknown"
    link: str | None = None


def of_observation(item: Observation) -> Signal | None:
    """None for what is no answer. A provider's own `opened` says neither who nor what opened it and counts nothing."""
    if item.kind not in WEIGHT or (item.kind == "opened" and item.provider_id is not None):
        return None
    return Signal(kind=item.kind, at=item.at.timestamp(), signal=item.signal, link=item.link)  # type: ignore[arg-type]


def keep(signals: Iterable[Signal]) -> tuple[Signal, ...]:
    """The signals without repetitions, at most `KEPT`, in an order of their own."""
    found = set(signals)
    return tuple(sorted(found, key=_rank)[:KEPT] if len(found) > 1 else found)


def _rank(signal: Signal) -> tuple[float, float, str, str, str]:
    return (-_possible(signal), signal.at, signal.kind, signal.link or "", signal.signal)


def _possible(signal: Signal) -> float:
    return WEIGHT[signal.kind] * (1.0 if signal.kind in VERIFIED else CONFIDENCE[signal.signal])


def credits(signals: Sequence[Signal], delivered_at: float, channel: Kind) -> list[float]:
    """What each signal is worth, in their order."""
    burst = _bursts(signals)
    read_from = delivered_at + TOO_SOON if channel in SCANNED else -inf
    return [
        0.0 if signal.kind not in VERIFIED and (signal.at < read_from or signal in burst) else _possible(signal)
        for signal in signals
    ]


def _bursts(signals: Sequence[Signal]) -> set[Signal]:
    clicks = [signal for signal in signals if signal.kind == "clicked"]
    if len(clicks) < BURST_LINKS:
        return set()
    clicks.sort(key=lambda signal: signal.at)
    found: set[Signal] = set()
    first = 0
    for last, click in enumerate(clicks):
        while click.at - clicks[first].at > BURST_SECONDS:
            first += 1
        window = clicks[first : last + 1]
        if len({one.link for one in window}) >= BURST_LINKS:
            found.update(window)
    return found


def credit(signals: Sequence[Signal], delivered_at: float | None, channel: Kind, goal_at: float | None = None) -> float:
    """The credit of a message; nothing before its delivery is known, everything when it led to a goal."""
    if delivered_at is None:
        return 0.0
    if goal_at is not None:
        return 1.0
    return max(credits(signals, delivered_at, channel), default=0.0)


class Stored(Signal, frozen=True, kw_only=True, omit_defaults=True):
    """A signal as its row keeps it: with what it is worth, for whoever asks what a score is made from."""

    credit: float


_reader = json.Decoder(tuple[Signal, ...])
_writer = json.Encoder()


def stored(signals: Sequence[Signal], delivered_at: float | None, channel: Kind) -> str:
    """The signals in JSON."""
    if not signals:
        return "[]"
    worth = credits(signals, delivered_at, channel) if delivered_at is not None else [0.0] * len(signals)
    rows = [
        Stored(kind=one.kind, at=one.at, signal=one.signal, link=one.link, credit=value)
        for one, value in zip(signals, worth, strict=True)
    ]
    return _writer.encode(rows).decode()


def read(text: str) -> tuple[Signal, ...]:
    """Signals from their JSON. What each was worth is not believed but found again."""
    return _reader.decode(text) if text != "[]" else ()
