"""Mails over SMTP: what the sandbox plays of a relay. The protocol is aiosmtpd's; here is who is refused, and what is kept.

No login and no TLS: it is for this machine, and for services in the same network of containers.
"""

import asyncio
import email.policy
import logging
import time
from email import message_from_bytes
from email.message import EmailMessage
from hashlib import sha256
from typing import cast
from uuid import UUID

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from nurture_local.sandbox import calls
from nurture_local.sandbox.behaviour import bounces
from nurture_local.sandbox.chaos import Chaos
from nurture_local.sandbox.courier import Courier
from nurture_local.sandbox.errors import ApiError, BrokenUpstream, ConnectionDropped
from nurture_local.sandbox.ledger import Ledger
from nurture_local.sandbox.rate import RateLimit
from nurture_local.sandbox.validation import Mail, bare_address

NAME = "sandbox.nurture.localhost"
NOBODY = "550 5.1.1 user unknown"
MAX_BYTES = 40_000_000
_CONTENT = frozenset({"from", "to", "subject", "date", "mime-version", "content-type", "content-transfer-encoding"})
log = structlog.get_logger()


class Postbox:
    """Takes mails at a port and keeps them in the ledger, with the faults that are in force."""

    def __init__(self, ledger: Ledger, courier: Courier, chaos: Chaos, rate: RateLimit) -> None:
        self._ledger = ledger
        self._courier = courier
        self._chaos = chaos
        self._rate = rate
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> None:
        """Listen; with port 0 nobody does. Raises OSError where the port is taken."""
        if not port:
            return
        loop = asyncio.get_running_loop()
        # It tells of every command, and with it whose mail that is.
        logging.getLogger("mail.log").setLevel(logging.WARNING)

        def talk() -> SMTP:
            return SMTP(self, hostname=NAME, ident="Nurture sandbox", data_size_limit=MAX_BYTES, loop=loop)

        self._server = await loop.create_server(talk, host, port)
        log.info("sandbox_takes_smtp", host=host, port=port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """The mailbox's own word: nobody is there, or it takes the mail."""
        if envelope.rcpt_tos:
            return "452 4.5.3 one recipient a mail"
        if bare_address(address) is None:
            return "501 5.1.3 bad recipient address"
        if bounces(address):
            await self._note(envelope, None, [address], NOBODY, effective=False)
            return NOBODY
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keep the mail before the reply, or fail as the faults say."""
        content = cast(bytes, envelope.content)
        read = cast(EmailMessage, message_from_bytes(content, policy=email.policy.default))
        mail, message_id = _mail(read, envelope), _message_id(read)
        try:
            self._rate.take()
            fate = await self._chaos.before_effect()
            await self._ledger.take(mail, message_id or sha256(content).hexdigest())
            self._courier.wake()
            # A relay that has taken a mail says so or nothing: there is no other reply that means it.
            await self._chaos.after_effect("lost" if fate == "failed_after" else fate)
        except (ApiError, BrokenUpstream, ConnectionDropped) as error:
            reply = _reply(error)
            await self._note(envelope, mail, envelope.rcpt_tos, reply or "lost", effective=error.effective)
            if reply is None:
                cast(asyncio.Transport, server.transport).abort()
                return "250 2.0.0 nobody hears this"
            return reply
        return f"250 2.0.0 Ok: queued as {message_id}"

    async def _note(self, envelope: Envelope, mail: Mail | None, to: list[str], reply: str, *, effective: bool) -> None:
        """Write down a call that did not simply work."""
        delivery = mail.tag("delivery_id") if mail else None
        line = calls.Call(
            channel="email",
            real_at=time.time(),
            key=None,
            deliveries=[delivery] if delivery else [],
            recipients=list(to),
            payload_sha256=sha256(cast(bytes, envelope.content or b"")).hexdigest(),
            reply=reply,
            effective=effective,
        )
        await self._ledger.write(lambda connection: calls.keep(connection, line))


def _reply(error: ApiError | BrokenUpstream | ConnectionDropped) -> str | None:
    """What a relay says where Resend would answer so; None: nothing, the connection ends."""
    match error:
        case ConnectionDropped():
            return None
        case BrokenUpstream():
            return "421 4.3.2 closing, try again"
        case ApiError(status=429):
            return "450 4.7.1 too many mails, try again"
        case ApiError(status=401 | 403):
            return "530 5.7.0 authentication required"
        case ApiError(status=status) if status < 500:
            return "554 5.6.0 refused"
        case _:
            return "451 4.3.0 try again"


def _mail(read: EmailMessage, envelope: Envelope) -> Mail:
    """As Resend's mails are kept; the delivery is in the name that the sender gave the mail."""
    html, text = read.get_body(("html",)), read.get_body(("plain",))
    delivery = _uuid(_message_id(read).partition("@")[0])
    return Mail(
        sender=str(read["From"] or envelope.mail_from),
        to=[str(read["To"] or envelope.rcpt_tos[0])],
        addresses=list(envelope.rcpt_tos),
        subject=str(read["Subject"] or ""),
        html=html.get_content() if html else None,
        text=text.get_content() if text else None,
        cc=[],
        bcc=[],
        reply_to=[str(value) for value in read.get_all("Reply-To", [])],
        headers={name: str(value) for name, value in read.items() if name.lower() not in _CONTENT},
        tags=[{"name": "delivery_id", "value": str(delivery)}] if delivery else [],
        attachments=[],
    )


def _message_id(read: EmailMessage) -> str:
    return str(read["Message-ID"] or "").strip().removeprefix("<").removesuffix(">")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
