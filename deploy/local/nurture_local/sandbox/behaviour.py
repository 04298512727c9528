"""What happens to an accepted mail, read off its address. Pure."""

from typing import Literal

from msgspec import Struct

Kind = Literal[
    "sent",
    "delivered",
    "bounced",
    "complained",
    "opened",
    "clicked",
    "unsubscribed",
    "read",
    "pressed",
    "replied",
    "blocked",
]
Via = Literal["webhook", "visit", "chat", "mailbox"]
"""webhook: the provider reports it. visit: the person does it, through the message's own links. chat: in Telegram. mailbox: it
just happens, and nobody reports it."""

RANK = {
    "queued": 0,
    "sent": 1,
    "delivered": 2,
    "opened": 3,
    "read": 4,
    "clicked": 5,
    "pressed": 6,
    "replied": 7,
    "bounced": 8,
    "complained": 9,
    "blocked": 10,
}
"""A message's state is the highest-ranking thing that happened to it; unsubscribing says nothing about the message."""

DELIVERY_SECONDS = 0.1


class Deed(Struct, frozen=True):
    """One thing that will happen, `after` real seconds from acceptance.

    `link` narrows a click down to one link, and is the `callback_data` of a pressed button.
    """

    kind: Kind
    via: Via
    after: float = 0.0
    link: str | None = None


def deeds(address: str, reading_seconds: float) -> list[Deed]:
    """What the owner of `address` and their mailbox do with a mail.

    `ann+open@…`, `+click@`, `+bounce@`, `+complain@` and Resend's `bounced@resend.dev`, `complained@resend.dev` (with
    or without a label) act as named; everyone else gets the mail and leaves it alone.
    """
    local, _, domain = address.lower().rpartition("@")
    name, _, label = local.rpartition("+") if "+" in local else (local, "", "")
    act = label
    if domain == "resend.dev":
        act = {"bounced": "bounce", "complained": "complain"}.get(name.partition("+")[0], "")
    sent = Deed("sent", "webhook")
    delivered = Deed("delivered", "webhook", DELIVERY_SECONDS)
    opened = Deed("opened", "visit", DELIVERY_SECONDS + reading_seconds)
    match act:
        case "bounce":
            return [sent, Deed("bounced", "webhook", DELIVERY_SECONDS)]
        case "complain":
            return [sent, delivered, Deed("complained", "webhook", 2 * DELIVERY_SECONDS)]
        case "open":
            return [sent, delivered, opened]
        case "click":
            return [sent, delivered, opened, Deed("clicked", "visit", DELIVERY_SECONDS + 2 * reading_seconds)]
        case _:
            return [sent, delivered]


def over_smtp(address: str, reading_seconds: float) -> list[Deed]:
    """The same for a mail that came over SMTP: it lies in the mailbox, and who has sent it hears of visits only."""
    planned = [deed for deed in deeds(address, reading_seconds) if deed.via == "visit"]
    return [Deed("delivered", "mailbox", DELIVERY_SECONDS), *planned]


def bounces(address: str) -> bool:
    """Whether there is nobody at this address."""
    return any(deed.kind == "bounced" for deed in deeds(address, 0.0))


def retry_after(attempts: int) -> float:
    """Real seconds until the next try after `attempts` failed ones: Svix's ladder, shortened for one machine."""
    ladder = (0.5, 2.0, 5.0, 5.0, 10.0, 10.0, 15.0, 15.0, 20.0)
    return ladder[attempts - 1] if attempts <= len(ladder) else 30.0


MAX_ATTEMPTS = {"webhook": 2000, "visit": 8, "chat": 1}
"""A webhook is tried for most of a day; a reader gives up on a dead link within a minute."""
