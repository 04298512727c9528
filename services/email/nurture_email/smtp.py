"""A relay over SMTP: one mail a request, over connections that are kept, and no key to ask twice under."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, cast

import aiosmtplib
from msgspec import Struct
from nurture_chassis.authorities import trusting
from nurture_chassis.settings import Secret

from nurture_email import mime
from nurture_email.provider import Account, Reply
from nurture_email.rendering import Mail
from nurture_email.smtp_verdicts import Stage, broken, refused
from nurture_email.verdicts import MemberVerdict, Verdict

CONNECT_SECONDS = 10.0
TOTAL_SECONDS = 40.0
"""Relays look at a message before they take it, and one that is given up on may have been taken."""
IDLE_SECONDS = 30.0
"""Servers close a connection that says nothing; one that was quiet for so long is not used again."""
ACCOUNT = Account(
    name="smtp",
    request=1,
    keyed=False,
    hint="the relay cannot be reached or refuses us: check SMTP_HOST, SMTP_PORT, SMTP_TLS, SMTP_CA_FILE, the login and "
    "FROM_EMAIL",
)
_NOT_OFFERED: dict[Stage, str] = {"connect": "starttls_not_offered", "login": "login_not_offered"}
Tls = Literal["starttls", "tls", "none"]
CA_FILE = "SMTP_CA_FILE"


class Relay(Struct, frozen=True, kw_only=True):
    """Where mails are handed over. `helo` is how we introduce ourselves; without a `username` nobody logs in. `authorities` is
    a PEM file with those that the relay's certificate may come from, instead of the system's."""

    host: str
    port: int
    tls: Tls
    helo: str
    authorities: str = ""
    username: str = ""
    password: Secret = Secret("")


class _Idle(NamedTuple):
    connection: aiosmtplib.SMTP
    since: float


class Smtp:
    """The adapter. It never raises for anything that a network or a relay can do; it answers with a verdict. The relay's texts
    and the password leave this file in no way."""

    def __init__(self, relay: Relay, *, total: float = TOTAL_SECONDS) -> None:
        self._relay = relay
        self._total = total
        self._idle: list[_Idle] = []
        self._context = trusting(CA_FILE, relay.authorities) if relay.tls != "none" else None

    async def send(self, key: str, mails: Sequence[Mail]) -> Reply:
        """Send one mail. There is nothing that `key` could be for: what is ambiguous stays so."""
        (mail,) = mails
        try:
            content, recipient = mime.encode(mail, datetime.now(UTC)), mime.envelope(mail.to)
        except mime.NotAnAddress:
            return Reply(Verdict(kind="rejected", reason="not_an_address"))
        except UnicodeError:
            return Reply(Verdict(kind="rejected", reason="not_encodable"))
        talk = _Talk()
        try:
            async with asyncio.timeout(self._total):
                await self._deliver(talk, mime.envelope(mail.sender), recipient, content)
            taken = MemberVerdict(kind="accepted", provider_id=mime.message_id(mail))
            reply = Reply(Verdict(kind="accepted", members=[taken]))
            talk.over = True
        except aiosmtplib.SMTPResponseException as error:
            reply = Reply(refused(talk.stage, error.code, error.message))
            talk.over = talk.stage in ("sender", "recipient", "message") and await _reset(talk.connection)
        except (aiosmtplib.SMTPException, OSError) as error:
            reply = Reply(_fault(talk.stage, error), answered=False)
        finally:
            self._keep(talk)
        return reply

    async def _deliver(self, talk: "_Talk", sender: str, recipient: str, content: bytes) -> None:
        connection = await self._begin_on_kept(talk, sender)
        if connection is None:
            connection = await self._connect(talk)
            talk.stage = "sender"
            await connection.mail(sender)
        talk.stage = "recipient"
        await connection.rcpt(recipient)
        talk.stage = "message"
        await connection.data(content)

    async def _begin_on_kept(self, talk: "_Talk", sender: str) -> aiosmtplib.SMTP | None:
        """A kept connection that took the first command; one that the relay has closed meanwhile says nothing of it."""
        while self._idle:
            kept = self._idle.pop()
            talk.connection = kept.connection
            if kept.connection.is_connected and time.monotonic() - kept.since < IDLE_SECONDS:
                talk.stage = "sender"
                try:
                    await kept.connection.mail(sender)
                    return kept.connection
                except aiosmtplib.SMTPServerDisconnected:
                    pass
                except aiosmtplib.SMTPResponseException as error:
                    if error.code != aiosmtplib.SMTPStatus.domain_unavailable:
                        raise
            _drop(kept.connection)
        return None

    async def _connect(self, talk: "_Talk") -> aiosmtplib.SMTP:
        relay = self._relay
        talk.stage = "connect"
        talk.connection = connection = aiosmtplib.SMTP(
            hostname=relay.host,
            port=relay.port,
            local_hostname=relay.helo,
            use_tls=relay.tls == "tls",
            start_tls=relay.tls == "starttls",
            tls_context=self._context,
            timeout=CONNECT_SECONDS,
        )
        await connection.connect()
        # Once it talks to us it may think for longer; the call's own time-out is for all of it.
        connection.timeout = None
        if relay.username:
            talk.stage = "login"
            await connection.login(relay.username, relay.password.reveal())
        return connection

    def _keep(self, talk: "_Talk") -> None:
        """Keep the connection for the next mail if this one left nothing behind on it."""
        if talk.connection is None:
            return
        if talk.over:
            self._idle.append(_Idle(talk.connection, time.monotonic()))
        else:
            _drop(talk.connection)

    async def close(self) -> None:
        """Say goodbye on the connections that are kept."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_quit(kept.connection) for kept in idle))


class _Talk:
    """One mail's conversation: over which connection, how far it got, and whether it came to an end there."""

    def __init__(self) -> None:
        self.connection: aiosmtplib.SMTP | None = None
        self.stage: Stage = "connect"
        self.over = False


def _fault(stage: Stage, error: aiosmtplib.SMTPException | OSError) -> Verdict:
    """The verdict on an end without a reply. A relay that cannot do what we were told to ask for will not learn it soon."""
    tls = error if isinstance(error, ssl.SSLError) else error.__cause__
    # Later on it is a line that broke, and what it carried may have arrived.
    if stage == "connect" and isinstance(tls, ssl.SSLError):
        ours = isinstance(tls, ssl.SSLCertVerificationError)
        return Verdict(kind="not_sent", then="park", reason="certificate_refused" if ours else "tls_failed")
    if stage in _NOT_OFFERED and not isinstance(error, OSError):
        return Verdict(kind="not_sent", then="park", reason=_NOT_OFFERED[stage])
    return broken(stage, "timeout" if isinstance(error, TimeoutError) else "connection_lost")


async def _reset(connection: aiosmtplib.SMTP | None) -> bool:
    """Whether the connection can be used for another mail after a refusal."""
    if connection is None or not connection.is_connected:
        return False
    try:
        await connection.rset(timeout=CONNECT_SECONDS)
    except (aiosmtplib.SMTPException, OSError):
        return False
    return True


async def _quit(connection: aiosmtplib.SMTP) -> None:
    try:
        await connection.quit(timeout=1.0)
    except (aiosmtplib.SMTPException, OSError):
        pass
    finally:
        _drop(connection)


def _drop(connection: aiosmtplib.SMTP) -> None:
    """Close it without TLS' own goodbye, for whose answer it would stay open: half a minute where a relay has gone silent."""
    if connection.transport is not None:
        cast(asyncio.Transport, connection.transport).abort()
    connection.close()
