"""What an SMTP server's answer means. Pure: one table from the part of the conversation and the reply to a class.

Codes of three digits and enhanced codes (RFC 3463) are the contract; texts are none, and one word of them counts: servers that
do not relay for us say so in words alone. 4xx is "not now" everywhere, 5xx is about whom that part of the conversation is about.
"""

import re
from typing import Literal, NamedTuple

from nurture_email.verdicts import OUT_OF_REACH, Kind, Then, Verdict

Stage = Literal["connect", "login", "sender", "recipient", "message"]
"""connect: until its greeting, TLS in place. login: AUTH. sender: MAIL. recipient: RCPT. message: DATA and what follows."""

HOLD_SECONDS = 5.0
"""How long nobody calls when the relay is not ready for us at all."""
_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})\b")
_DEAD = ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10")
"""No such mailbox, no such domain, not an address, moved for good, a domain that takes no mail."""


class Row(NamedTuple):
    """One kind of refusal: by stage (empty: any), code (one digit: all that begin so), then enhanced code or word, if any."""

    stage: Stage | Literal[""]
    code: str
    part: str
    kind: Kind
    reason: str
    then: Then | None = None
    hold: float | None = None


TABLE: tuple[Row, ...] = (
    Row("", "421", "", "not_sent", "relay_closes", hold=HOLD_SECONDS),
    Row("", "530", "", "not_sent", "login_required", "park"),
    Row("", "538", "", "not_sent", "encryption_required", "park"),
    Row("connect", "4", "", "not_sent", "relay_not_ready", hold=HOLD_SECONDS),
    Row("connect", "5", "", "not_sent", "relay_refused_us", "park"),
    Row("login", "4", "", "not_sent", "login_not_now", hold=HOLD_SECONDS),
    Row("login", "5", "", "not_sent", "login_refused", "park"),
    Row("sender", "4", "", "not_sent", "sender_not_now", hold=HOLD_SECONDS),
    Row("sender", "5", "", "not_sent", "sender_refused", "park"),
    Row("recipient", "5", "relay", "not_sent", "relaying_refused", "park"),
    *(Row("recipient", "5", part, "rejected", "no_such_address", "dead") for part in _DEAD),
    *(Row("message", "5", part, "rejected", "no_such_address", "dead") for part in _DEAD),
    Row("recipient", "5", "", "rejected", "recipient_refused"),
    Row("recipient", "4", "", "not_sent", "recipient_not_now"),
    Row("message", "5", "", "rejected", "message_refused"),
    Row("message", "4", "", "not_sent", "message_not_now"),
)
"""The first row that fits. A refused login, sender or relaying is the installation's fault: it parks, it rejects nobody."""


def row_of(stage: Stage, code: int, text: str) -> Row:
    """What the table says of a reply; one that is not in it is no refusal that anybody knows: not sent, or, once the message
    is out, ambiguous."""
    enhanced = _enhanced(text)
    for row in TABLE:
        meant = row.part in ("", enhanced) or (row.part.isalpha() and row.part in text.lower())
        if row.stage in ("", stage) and str(code).startswith(row.code) and meant:
            return row
    if stage == "message":
        return Row(stage, "", "", "ambiguous", "strange_reply", "unrepeatable")
    return Row(stage, "", "", "not_sent", "strange_reply", hold=HOLD_SECONDS)


def refused(stage: Stage, code: int, text: str) -> Verdict:
    """The verdict on a reply that is not the one hoped for. Of its text only the enhanced code goes into the reason."""
    row = row_of(stage, code, text)
    reason = "_".join(filter(None, (row.reason, str(code), _enhanced(text))))
    return Verdict(kind=row.kind, then=row.then, reason=reason, retry_after=row.hold)


def broken(stage: Stage, word: str) -> Verdict:
    """The verdict on a conversation without an end; `word` names the fault. Before the message began nothing can be sent."""
    if stage == "message":
        return Verdict(kind="ambiguous", then="unrepeatable", reason=word)
    if stage == "connect":
        return Verdict(kind="not_sent", then="park", reason=OUT_OF_REACH)
    return Verdict(kind="not_sent", reason=word)


def _enhanced(text: str) -> str:
    found = _ENHANCED.match(text)
    return found[1] if found else ""
