"""Bytes to messages, strictly; a page's bad items are set aside, its good ones go on."""

from typing import Any, get_type_hints
from uuid import UUID

import msgspec
from nurture_contracts.base import Message


class BadItem(msgspec.Struct, frozen=True):
    """An item that could not be read: its place, a page with only this item (so that it can be replayed), the reason."""

    index: int
    payload: bytes
    reason: str


class _Envelope(msgspec.Struct):
    items: list[msgspec.Raw]


class PageCodec:
    """Decodes one message type. FastStream calls `decode`; bad items end in `bad_items` of the stream message."""

    def __init__(self, message: type[Message]) -> None:
        self._whole = msgspec.json.Decoder(message, strict=True)
        hints = get_type_hints(message, include_extras=True)
        self._item = msgspec.json.Decoder(hints["items"].__args__[0], strict=True) if "items" in hints else None
        self._envelope = msgspec.json.Decoder(_Envelope)
        self._fields = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def read(self, body: bytes) -> tuple[Message, list[BadItem]]:
        """Raises msgspec.DecodeError or ValidationError when the message itself is unreadable."""
        try:
            return self._whole.decode(body), []
        except msgspec.ValidationError:
            if self._item is None:
                raise
        fields: dict[str, Any] = self._fields.decode(body)
        good: list[msgspec.Raw] = []
        bad: list[BadItem] = []
        for index, raw in enumerate(self._envelope.decode(body).items):
            try:
                self._item.decode(raw)
            except msgspec.ValidationError as error:
                bad.append(BadItem(index, msgspec.json.encode({**fields, "items": [raw]}), str(error)))
            else:
                good.append(raw)
        if not bad:
            # Every item is fine, so it is the page around them that is not.
            return self._whole.decode(body), []
        return self._whole.decode(msgspec.json.encode({**fields, "items": good})), bad

    async def decode(self, msg: Any) -> Message:
        message, bad = self.read(msg.body)
        if bad:
            msg.raw_message.bad_items = bad
        return message

    async def encode(self, msg: Any, serializer: Any = None) -> tuple[bytes, str | None]:
        return (msg, None) if isinstance(msg, bytes) else (msgspec.json.encode(msg), "application/json")


def letter_id(message_id: str, durable: str, index: int = -1) -> UUID:
    """The id of the dead letter for a message (or one of its items), the same at each redelivery."""
    from nurture_contracts.ids import derived

    return derived("dead-letter", message_id, durable, index)
