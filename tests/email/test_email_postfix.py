"""The SMTP adapter against Postfix: a relay that nobody here wrote."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from nurture_chassis.settings import Secret
from nurture_email.smtp import Smtp
from postfix import DOMAIN, HOST, LOGIN, Postfix, postfix
from test_email_smtp import mail, settings, told

PASSWORD = "pa$$ wörd: 1"
ODD = "Grüße 🙂\n.\n..two dots\n" + "x" * 2_000 + "\nFrom here on\n"


@pytest.fixture(scope="module")
def relay() -> Iterator[Postfix]:
    with postfix(PASSWORD) as started:
        yield started


@pytest.fixture
def talk(relay: Postfix, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a scene with an adapter that is told so."""
    monkeypatch.setenv("SSL_CERT_FILE", str(relay.authority))

    def run(scene: Callable[[Smtp], Awaitable[None]], **changes: object) -> None:
        login = {"host": HOST, "tls": "starttls", "username": LOGIN, "password": Secret(PASSWORD)}

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
    deadline = time.monotonic() + 60
    while len(kept := relay.kept()) < len(names) and time.monotonic() < deadline:
        time.sleep(0.05)
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
