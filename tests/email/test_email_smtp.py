"""The SMTP adapter against servers: what is on the wire, and what each answer means."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
import trustme
from email_sandbox import Sandbox
from nurture_chassis.settings import Secret
from nurture_email.provider import Reply
from nurture_email.rendering import Mail
from nurture_email.smtp import Relay as Settings
from nurture_email.smtp import Smtp
from smtp_relay import Relay, hang_up, relaying

PASSWORD = "a-password-that-must-not-show"
LONG = "<https://n.acme.test/u/" + "t" * 150 + ">"


def mail(to: str = "ann@x.test", **changes: object) -> Mail:
    fields = {
        "delivery_id": uuid4(), "sender": "Acmé & Söhne <hello@acme.test>", "to": to, "subject": "Grüße aus Köln 🎉",
        "html": "<p>Schöne Grüße</p>", "text": "Schöne Grüße\n.\n..zwei Punkte\n", "links": {}, "tags": [],
        "headers": {"List-Unsubscribe": LONG, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
    }  # fmt: skip
    return Mail(**(fields | changes))  # type: ignore[arg-type]


def settings(port: int, **changes: object) -> Settings:
    return Settings(**({"host": "127.0.0.1", "port": port, "tls": "none", "helo": "acme.test"} | changes))  # type: ignore[arg-type]


def play(scene: Callable[[Relay, Smtp], Awaitable[None]], **options: object) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30), relaying(**options) as relay:  # type: ignore[arg-type]
            smtp = Smtp(settings(relay.port))
            try:
                await scene(relay, smtp)
            finally:
                await smtp.close()

    asyncio.run(whole())


def told(reply: Reply) -> tuple[str, str | None, str | None]:
    verdict = reply.verdict
    return verdict.kind, verdict.then, verdict.reason


def test_what_the_relay_gets() -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        one = mail()
        reply = await smtp.send("key", [one])
        (member,) = reply.verdict.members
        assert (member.kind, member.provider_id) == ("accepted", f"{one.delivery_id}@acme.test")
        assert relay.envelopes == [("hello@acme.test", ["ann@x.test"])]
        (raw,) = relay.taken
        # Unbroken, or no mailbox provider would show its button.
        assert f"\r\nList-Unsubscribe: {LONG}\r\n".encode() in raw
        assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw
        assert f"\r\nMessage-ID: <{one.delivery_id}@acme.test>\r\n".encode() in raw
        assert raw.isascii() and all(len(line) <= 998 for line in raw.split(b"\r\n"))
        assert all(len(line) <= 78 for line in raw.partition(b"\r\n\r\n")[2].split(b"\r\n"))
        letter = relay.letter()
        assert str(letter["Subject"]) == one.subject and str(letter["To"]) == "ann@x.test"
        (sender,) = letter["From"].addresses
        assert (sender.display_name, sender.addr_spec) == ("Acmé & Söhne", "hello@acme.test")
        assert letter["Date"].datetime.tzinfo is not None
        assert letter.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in letter.iter_parts()] == ["text/plain", "text/html"]
        text, html = (part.get_content() for part in letter.iter_parts())
        assert text.splitlines() == one.text.splitlines() and html.strip() == one.html

    play(scene)


TABLE: list[tuple[str, str, tuple[str, str | None, str]]] = [
    ("MAIL", "550 5.1.8 bad sender's system address", ("not_sent", "park", "sender_refused_550_5.1.8")),
    ("MAIL", "530 5.7.0 login first", ("not_sent", "park", "login_required_530_5.7.0")),
    ("MAIL", "451 4.3.0 later", ("not_sent", None, "sender_not_now_451_4.3.0")),
    ("RCPT", "550 5.1.1 no ann@x.test here", ("rejected", "dead", "no_such_address_550_5.1.1")),
    ("RCPT", "550 5.7.1 not wanted", ("rejected", None, "recipient_refused_550_5.7.1")),
    ("RCPT", "554 5.7.1 Relay access denied", ("not_sent", "park", "relaying_refused_554_5.7.1")),
    ("RCPT", "450 4.2.1 greylisted", ("not_sent", None, "recipient_not_now_450_4.2.1")),
    ("RCPT", "550 no enhanced code", ("rejected", None, "recipient_refused_550")),
    ("DATA", "554 5.6.0 spam", ("rejected", None, "message_refused_554_5.6.0")),
    ("DATA", "452 4.3.1 disk full", ("not_sent", None, "message_not_now_452_4.3.1")),
]


@pytest.mark.parametrize(("stage", "answer", "verdict"), TABLE)
def test_what_an_answer_means_and_that_the_next_mail_is_not_concerned(
    stage: str, answer: str, verdict: tuple[str, str | None, str]
) -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        relay.answers[stage].append(answer)
        assert told(await smtp.send("", [mail()])) == verdict
        assert (await smtp.send("", [mail("bob@x.test")])).verdict.kind == "accepted"
        assert relay.envelopes == [("hello@acme.test", ["bob@x.test"])]
        assert relay.connections == 1, "a refusal is no reason to connect anew"

    play(scene)


def test_a_relay_that_hangs_up_after_the_message_leaves_it_unknown() -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        relay.answers["DATA"].append("lost")
        reply = await smtp.send("", [mail()])
        assert told(reply) == ("ambiguous", "unrepeatable", "connection_lost") and not reply.answered
        assert len(relay.taken) == 1, "it had taken it"

    play(scene)


def test_a_relay_that_does_not_answer_the_message_in_time_leaves_it_unknown() -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        relay.slow = 20.0
        hasty = Smtp(settings(relay.port), total=2.0)
        assert told(await hasty.send("", [mail()])) == ("ambiguous", "unrepeatable", "timeout")

    play(scene)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [("RCPT", ("not_sent", None, "connection_lost")), ("DATA", ("ambiguous", "unrepeatable", "connection_lost"))],
)
def test_tls_that_breaks_on_the_way_is_a_lost_connection(
    stage: str, expected: tuple[str, str | None, str], tmp_path
) -> None:
    """After the message it may have been taken: what is said of a certificate, before anything is sent, would be a lie."""
    authority, context = certificate("localhost")
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))

    def garble(server: Any) -> str:
        server.transport._ssl_protocol._transport.write(b"This is no record of TLS, and nobody can read it.")
        return "250 nobody hears this"

    async def scene() -> None:
        async with asyncio.timeout(30), relaying(context, direct=True) as relay:
            smtp = Smtp(settings(relay.port, host="localhost", tls="tls", authorities=str(trusted)))
            relay.answers[stage].append(garble)
            assert told(await smtp.send("", [mail()])) == expected
            await smtp.close()

    asyncio.run(scene())


def test_a_connection_to_a_relay_that_went_silent_is_closed_at_once(tmp_path: Path) -> None:
    """A goodbye of TLS waits for its answer, half a minute where none comes."""
    authority, context = certificate("localhost")
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    frozen: list[asyncio.Transport] = []

    def freeze(server: Any) -> str:
        frozen.append(server.transport._ssl_protocol._transport)
        frozen[0].pause_reading()
        return "250 and nothing more"

    async def scene() -> None:
        async with asyncio.timeout(30), relaying(context, direct=True) as relay:
            smtp = Smtp(settings(relay.port, host="localhost", tls="tls", authorities=str(trusted)), total=2.0)
            relay.answers["RCPT"].append(freeze)
            assert told(await smtp.send("", [mail()])) == ("ambiguous", "unrepeatable", "timeout")
            async with asyncio.timeout(10):
                while relay.port in established():  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(0.01)
            frozen[0].abort()

    asyncio.run(scene())


def established() -> set[int]:
    """The ports that connections of this machine go to, as far as our side has not closed them."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {int(line[2].rpartition(":")[2], 16) for line in lines if line[3] == "01"}


def test_a_relay_that_speaks_no_tls_where_it_should_is_told_apart_from_a_certificate() -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        mistaken = Smtp(settings(relay.port, tls="tls"))
        assert told(await mistaken.send("", [mail()])) == ("not_sent", "park", "tls_failed")

    play(scene)


@pytest.mark.parametrize("stage", ["MAIL", "RCPT"])
def test_before_the_message_nothing_can_have_been_sent(stage: str) -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        relay.answers[stage].append(hang_up)
        assert told(await smtp.send("", [mail()])) == ("not_sent", None, "connection_lost")

    play(scene)


def test_connections_are_kept_and_one_that_was_closed_meanwhile_is_replaced() -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        for _ in range(3):
            assert (await smtp.send("", [mail()])).verdict.kind == "accepted"
        assert relay.connections == 1
        relay.hang_up()
        assert (await smtp.send("", [mail()])).verdict.kind == "accepted"
        relay.answers["MAIL"].append("421 4.4.2 idle for too long")
        assert (await smtp.send("", [mail()])).verdict.kind == "accepted"
        assert relay.connections == 3 and len(relay.taken) == 5
        relay.slow = 0.05
        await asyncio.gather(*(smtp.send("", [mail()]) for _ in range(4)))
        assert relay.most == 4 and relay.connections == 6

    play(scene)


def test_a_relay_that_is_not_there_stops_the_channel_for_a_moment() -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        nobody = Smtp(settings(9))
        assert told(await nobody.send("", [mail()])) == ("not_sent", "park", "relay_unreachable")

    play(scene)


def certificate(*names: str) -> tuple[trustme.CA, ssl.SSLContext]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return authority, context


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_tls_and_login(tls: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority, context = certificate("localhost")
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    caplog.set_level(logging.DEBUG)

    async def scene() -> None:
        async with relaying(context, direct=tls == "tls", login=tls == "starttls") as relay:
            relay.password = PASSWORD
            login = {"username": "nurture", "password": Secret(PASSWORD)} if tls == "starttls" else {}
            place = settings(relay.port, host="localhost", tls=tls, **login)
            # Nobody has signed for this relay, as far as we know.
            assert told(await Smtp(place).send("", [mail()])) == ("not_sent", "park", "certificate_refused")
            smtp = Smtp(msgspec.structs.replace(place, authorities=str(trusted)))
            assert (await smtp.send("", [mail()])).verdict.kind == "accepted"
            assert relay.tls == [True]
            assert relay.logins == ([("nurture", PASSWORD)] if login else [])
            await smtp.close()
            if login:
                relay.password = "another"
                refused = Smtp(msgspec.structs.replace(place, authorities=str(trusted)))
                reply = await refused.send("", [mail()])
                assert told(reply) == ("not_sent", "park", "login_refused_535_5.7.8")
                assert PASSWORD not in repr(reply) + repr(place) + repr(refused) + caplog.text

    asyncio.run(scene())


def test_another_authority_counts_instead_of_the_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority, context = certificate("localhost")
    other, _ = certificate("localhost")
    systems, own = tmp_path / "systems.pem", tmp_path / "own.pem"
    authority.cert_pem.write_to_path(str(systems))
    other.cert_pem.write_to_path(str(own))
    monkeypatch.setenv("SSL_CERT_FILE", str(systems))

    async def scene() -> None:
        async with relaying(context) as relay:
            place = settings(relay.port, host="localhost", tls="starttls")
            strict = Smtp(msgspec.structs.replace(place, authorities=str(own)))
            assert told(await strict.send("", [mail()])) == ("not_sent", "park", "certificate_refused")
            with own.open("ab") as file:
                file.write("Zwei Aussteller, für den Umzug\n".encode() + authority.cert_pem.bytes())
            both = Smtp(msgspec.structs.replace(place, authorities=str(own)))
            for smtp in (both, Smtp(place)):
                assert (await smtp.send("", [mail()])).verdict.kind == "accepted"
                await smtp.close()

    asyncio.run(scene())


def test_a_relay_without_starttls_gets_neither_password_nor_mail() -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        strict = Smtp(settings(relay.port, tls="starttls", username="nurture", password=Secret(PASSWORD)))
        assert told(await strict.send("", [mail()])) == ("not_sent", "park", "starttls_not_offered")
        plain = Smtp(settings(relay.port, username="nurture", password=Secret(PASSWORD)))
        assert told(await plain.send("", [mail()])) == ("not_sent", "park", "login_not_offered")
        assert relay.logins == [] and relay.taken == []

    play(scene)


def test_an_address_that_no_relay_takes_is_refused_here() -> None:
    async def scene(relay: Relay, smtp: Smtp) -> None:
        assert told(await smtp.send("", [mail("jürgen@x.test")])) == ("rejected", None, "not_an_address")
        assert (await smtp.send("", [mail("ann@käse.test")])).verdict.kind == "accepted"
        assert relay.envelopes == [("hello@acme.test", ["ann@xn--kse-qla.test"])]

    play(scene)


def test_the_sandbox_keeps_what_comes_over_smtp(sandbox: Sandbox) -> None:
    async def send(one: Mail) -> Reply:
        smtp = Smtp(settings(sandbox.smtp_port))
        try:
            return await smtp.send("", [one])
        finally:
            await smtp.close()

    one = mail("ann+open@x.test", html='<p>Hi</p><img src="https://n.acme.test/t/o/abc">')
    assert asyncio.run(send(one)).verdict.kind == "accepted"
    (kept,) = sandbox.messages()
    assert (kept["id"], kept["to"], kept["subject"]) == (f"{one.delivery_id}@acme.test", "ann+open@x.test", one.subject)
    assert UUID(kept["delivery_id"]) == one.delivery_id and kept["html"].strip() == one.html
    assert kept["headers"]["List-Unsubscribe"] == LONG
    assert told(asyncio.run(send(mail("bob+bounce@x.test")))) == ("rejected", "dead", "no_such_address_550_5.1.1")
    for status, verdict in ((429, "not_sent"), (500, "not_sent"), (502, "not_sent"), (422, "rejected")):
        sandbox.chaos(fail_next=1, status=status)
        assert asyncio.run(send(mail())).verdict.kind == verdict
    sandbox.chaos(fail_next=1, status=403)
    assert asyncio.run(send(mail())).verdict.then == "park"
    assert len(sandbox.messages()) == 1
    sandbox.chaos(close_after_accept=1)
    assert asyncio.run(send(one)).verdict.then == "unrepeatable"
    first, again = sandbox.messages()
    assert again["id"] != first["id"] and again["delivery_id"] == first["delivery_id"]
    assert [call["reply"][:3] for call in sandbox.calls()] == ["550", "450", "451", "421", "554", "530", "los"]
    page = sandbox.client.get(f"/messages/{kept['id']}").text
    assert "List-Unsubscribe" in page and "Complain" not in page
