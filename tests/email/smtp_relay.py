"""A relay that a test scripts: aiosmtpd speaks the protocol, the test says what is answered where."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Answer = str | Callable[[SMTP], Any]
"""A reply, or what is done instead of one."""


class Relay:
    """`answers` are given once each, by stage: `MAIL`, `RCPT`, `DATA`; without one the mail is taken."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {"MAIL": [], "RCPT": [], "DATA": []}
        self.taken: list[bytes] = []
        self.envelopes: list[tuple[str, list[str]]] = []
        self.tls: list[bool] = []
        self.connections = 0
        self.logins: list[tuple[str, str]] = []
        self.password = "right"
        self.under_way = self.most = 0
        self.port = 0
        self.slow = 0.0
        self._servers: list[SMTP] = []

    async def _answer(self, server: SMTP, stage: str) -> str | None:
        if not self.answers[stage]:
            return None
        answer = self.answers[stage].pop(0)
        if isinstance(answer, str):
            return answer
        done = answer(server)
        return await done if asyncio.iscoroutine(done) else done

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]):
        if answer := await self._answer(server, "MAIL"):
            return answer
        envelope.mail_from = address
        return "250 Ok"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]):
        if answer := await self._answer(server, "RCPT"):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self.slow)
        self.under_way -= 1
        if (answer := await self._answer(server, "DATA")) and answer[0] in "45":
            return answer
        assert isinstance(envelope.content, bytes)
        self.taken.append(envelope.content)
        self.envelopes.append((envelope.mail_from or "", list(envelope.rcpt_tos)))
        self.tls.append(server.transport.get_extra_info("sslcontext") is not None)
        if answer == "lost":
            server.transport.abort()
        return "250 Ok: queued"

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        right = data.password.decode() == self.password
        return AuthResult(success=right, handled=False)

    def hang_up(self) -> None:
        """Close every connection, as a relay does with those that say nothing for long."""
        for server in self._servers:
            if server.transport is not None:
                server.transport.abort()
        self._servers.clear()

    def letter(self, number: int = -1) -> EmailMessage:
        return message_from_bytes(self.taken[number], policy=default)  # type: ignore[return-value]


def hang_up(server: SMTP) -> str:
    """Close instead of answering."""
    server.transport.abort()
    return "250 nobody hears this"


@asynccontextmanager
async def relaying(
    context: ssl.SSLContext | None = None, *, direct: bool = False, login: bool = False
) -> AsyncIterator[Relay]:
    """A relay on this machine. `context`: it offers STARTTLS, or speaks TLS from the first byte (`direct`).
    `login`: it asks for one; without TLS it only offers it."""
    relay, loop = Relay(), asyncio.get_running_loop()
    plain_login = login and context is None

    def talk() -> SMTP:
        relay.connections += 1
        server = SMTP(
            relay, hostname="relay.test", loop=loop, tls_context=None if direct else context,
            auth_required=login and context is not None, auth_require_tls=not (direct or plain_login), authenticator=relay.authenticate,
        )  # fmt: skip
        relay._servers.append(server)
        return server

    listener = await loop.create_server(talk, "127.0.0.1", 0, ssl=context if direct else None)
    relay.port = listener.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        listener.close()
        relay.hang_up()
        await asyncio.sleep(0)
