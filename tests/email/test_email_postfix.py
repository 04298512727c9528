"""The SMTP adapter against Postfix: a relay that nobody here wrote."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import pytest
from nurture_chassis.settings import Secret
from nurture_email.smtp import Smtp
from nurture_gateway import reports
from postfix import DOMAIN, HOST, LOGIN, SENDER, Postfix, postfix
from test_email_smtp import mail, settings, told

PASSWORD = "pa$$ wörd: 1"
ODD = "Grüße 🙂\n.\n..two dots\n" + "x" * 2_000 + "\nFrom here on\n"


def mail_of(raw: bytes) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(raw, policy=policy.default))


@pytest.fixture(scope="module")
def relay() -> Iterator[Postfix]:
    with postfix(PASSWORD) as started:
        yield started


@pytest.fixture
def talk(relay: Postfix) -> Callable[..., None]:
    """Runs a scene with an adapter that is told so."""

    def run(scene: Callable[[Smtp], Awaitable[None]], **changes: object) -> None:
        login = {
            "host": HOST, "tls": "starttls", "authorities": str(relay.authority), "username": LOGIN,
            "password": Secret(PASSWORD),
        }  # fmt: skip

        async def whole() -> None:
            smtp = Smtp(settings(relay.port, **login | changes))
            async with asyncio.timeout(60):
                await scene(smtp)
            await smtp.close()

        asyncio.run(whole())

    return run


def test_what_is_sent_arrives_once_as_it_was_written(relay: Postfix, talk: Callable[..., None]) -> None:
    names: list[str] = []

    async def scene(smtp: Smtp) -> None:
        subject = "Ünïcode, and long: " + "word " * 60
        odd = [mail(f"Ann <ann@{DOMAIN}>", text=ODD), mail(f"bob@{DOMAIN}", subject=subject)]
        replies = await asyncio.gather(
            *(smtp.send("", [one]) for one in odd + [mail(f"ann@{DOMAIN}") for _ in range(40)])
        )
        assert {told(reply) for reply in replies} == {("accepted", None, None)}
        names.extend(f"<{reply.verdict.members[0].provider_id}>" for reply in replies)

    talk(scene)
    kept = [mail_of(one) for one in relay.kept(DOMAIN, lambda mails: len(mails) >= len(names))]
    found = {str(one["Message-ID"]): one for one in kept}
    assert len(kept) == len(names) and found.keys() == set(names)
    first, second = found[names[0]], found[names[1]]
    text, html = first.get_body(("plain",)), first.get_body(("html",))
    assert text and html and (text.get_content(), html.get_content().strip()) == (ODD, "<p>Schöne Grüße</p>")
    assert first["From"] == "Acmé & Söhne <hello@acme.test>" and first["Return-Path"] == "<hello@acme.test>"
    assert first["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert second["Subject"].startswith("Ünïcode, and long: word") and second["Subject"].count("word") == 60


def test_a_refused_recipient_is_told_and_the_connection_goes_on(talk: Callable[..., None]) -> None:
    async def scene(smtp: Smtp) -> None:
        assert told(await smtp.send("", [mail(f"nobody@{DOMAIN}")])) == (
            "rejected",
            "dead",
            "no_such_address_550_5.1.1",
        )
        assert (await smtp.send("", [mail("someone@elsewhere.test")])).verdict.kind == "accepted"

    talk(scene)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password": Secret("another")}, "login_refused_535_5.7.8"),
        ({"tls": "none", "username": ""}, "login_required_530_5.7.0"),
    ],
    ids=["a wrong password", "in the clear"],
)
def test_who_may_not_send_waits_and_is_told_why(talk: Callable[..., None], changes: dict, reason: str) -> None:
    async def scene(smtp: Smtp) -> None:
        assert told(await smtp.send("", [mail(f"ann@{DOMAIN}")])) == ("not_sent", "park", reason)

    talk(scene, **changes)


def test_what_comes_back_is_read_at_the_door(relay: Postfix, talk: Callable[..., None]) -> None:
    one = mail("ann@elsewhere.test")

    async def scene(smtp: Smtp) -> None:
        assert (await smtp.send("", [one])).verdict.kind == "accepted"

    def events(mails: list[bytes]) -> dict:
        found = [reports.read(returned, datetime.now(UTC)) for returned in mails]
        return {event.delivery_id: (event.type, event.bounce_type, event.bounce_subtype) for event in found}

    talk(scene)
    returned = relay.kept(SENDER, lambda mails: one.delivery_id in events(mails))
    assert events(returned)[one.delivery_id] == ("email.bounced", "Permanent", "5.1.1")
