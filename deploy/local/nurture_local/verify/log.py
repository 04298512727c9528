"""Pure: events in columns. A log of millions is held in some forty bytes an event and told one event at a time."""

from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import overload
from uuid import UUID

from nurture_local.verify.history import Event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NOBODY = bytes(16)


class EventLog(Sequence[Event]):
    """Appended to once, in the order of deliveries; `grouped` says so to whoever wants a delivery's events together."""

    grouped = True

    def __init__(self) -> None:
        self._ids = bytearray()
        self._deliveries = bytearray()
        self._at = array("q")
        self._received = array("q")
        self._attempts = array("i")
        self._arrived = bytearray()
        self._final = bytearray()
        self._words: list[tuple[str, str | None, str, str | None]] = []
        self._providers: list[str | None] = []
        self._known: dict[object, object] = {}

    def append(self, event: Event) -> None:
        self._ids += event.event_id.bytes
        self._deliveries += event.delivery_id.bytes if event.delivery_id else _NOBODY
        self._at.append((event.at - _EPOCH) // _MICROSECOND)
        self._received.append((event.received_at - _EPOCH) // _MICROSECOND)
        self._attempts.append(event.attempts)
        self._arrived.append(event.arrived)
        self._final.append(event.final)
        words = (event.kind, event.reason, event.signal, event.link)
        self._words.append(self._known.setdefault(words, words))  # type: ignore[arg-type]
        # The same id stands in every event of its delivery; neighbours share it.
        last = self._providers[-1] if self._providers else None
        self._providers.append(last if last == event.provider_id else event.provider_id)

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, place: int) -> Event: ...
    @overload
    def __getitem__(self, place: slice) -> list[Event]: ...
    def __getitem__(self, place: int | slice) -> Event | list[Event]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        start, end = 16 * place, 16 * place + 16
        delivery = bytes(self._deliveries[start:end])
        kind, reason, signal, link = self._words[place]
        return Event(
            event_id=UUID(bytes=bytes(self._ids[start:end])),
            delivery_id=None if delivery == _NOBODY else UUID(bytes=delivery),
            kind=kind,
            at=_EPOCH + timedelta(microseconds=self._at[place]),
            received_at=_EPOCH + timedelta(microseconds=self._received[place]),
            provider_id=self._providers[place],
            reason=reason,
            attempts=self._attempts[place],
            arrived=bool(self._arrived[place]),
            final=bool(self._final[place]),
            signal=signal,
            link=link,
        )

    def __iter__(self) -> Iterator[Event]:
        return (self[place] for place in range(len(self)))
