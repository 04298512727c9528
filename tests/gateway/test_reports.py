"""Bounces and complaints that came back as mail: what is read from them, and what the gateway makes of it."""

from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from gateway_stand import Controller, Gateway
from hypothesis import example, given
from hypothesis import strategies as st
from nurture_contracts.events import WebhookReceived
from nurture_gateway.reports import NoReport, read
from test_health_and_pages import problem

DELIVERY = UUID("0198b2f4-6c00-7000-8000-000000000001")
NOW = datetime(2026, 11, 27, 9, tzinfo=UTC)
PATH = "/admin/api/email/reports"


def sent(delivery: UUID = DELIVERY) -> str:
    """The mail that comes back."""
    return (
        f"From: hello@acme.test\nTo: ann@x.test\nSubject: Nobody's business\nMessage-ID: <{delivery}@acme.test>\n"
        "Content-Type: text/plain; charset=utf-8\n\nHello Ann\n"
    )


def report(*parts: tuple[str, str], kind: str = "report") -> bytes:
    """A mail of these parts, each a media type and what is in it."""
    head = f"From: MAILER-DAEMON@mx.x.test\nMessage-ID: <{uuid4()}@mx.x.test>\nContent-Type: multipart/{kind}; boundary=cut\n\n"
    body = "".join(f"--cut\nContent-Type: {kind}\n\n{text}\n" for kind, text in parts)
    return f"{head}{body}--cut--\n".encode()


def bounce(fields: str, back: tuple[str, str] = ("message/rfc822", sent()), kind: str = "report") -> bytes:
    """A delivery status notification. `fields` are those of the recipient; `back` is how the mail comes along."""
    words = ("text/plain", "I am sorry to have to inform you, ann@x.test")
    return report(words, ("message/delivery-status", f"Reporting-MTA: dns; mx.x.test\n\n{fields}\n"), back, kind=kind)


def complaint(kind: str) -> bytes:
    fields = f"Feedback-Type: {kind}\nUser-Agent: Somebody/1\nVersion: 1\n"
    return report(("text/plain", "Abuse"), ("message/feedback-report", fields), ("message/rfc822", sent()))


def told(mail: bytes) -> tuple[str, UUID | None, str | None, str | None]:
    event = read(mail, NOW)
    assert event.at == NOW and not event.test and event.webhook_id.startswith("report_")
    return event.type.removeprefix("email."), event.delivery_id, event.bounce_type, event.bounce_subtype


FAILED = "Final-Recipient: rfc822; ann@x.test\nAction: failed\nStatus: {}\nDiagnostic-Code: smtp; {}"


@pytest.mark.parametrize(
    ("status", "words", "kind", "code"),
    [
        ("5.1.1", "550 5.1.1 <ann@x.test>: User unknown", "Permanent", "5.1.1"),
        ("5.0.0", "550 5.1.10 the domain takes no mail", "Permanent", "5.1.10"),
        ("5.4.4", "Host or domain name not found", "Permanent", "5.4.4"),
        ("5.2.2", "552 5.2.2 mailbox full", "Transient", "5.2.2"),
        ("5.7.1", "550 5.7.1 looks like spam", "Transient", "5.7.1"),
        ("4.4.7", "delivery time expired", "Transient", "4.4.7"),
        ("5.0.0", "550 no", "Transient", None),
        ("", "", "Transient", None),
    ],
)
def test_a_bounce_ends_the_address_only_where_that_is_the_reason(
    status: str, words: str, kind: str, code: str | None
) -> None:
    assert told(bounce(FAILED.format(status, words))) == ("bounced", DELIVERY, kind, code)


def test_delays_and_deliveries_are_told_and_what_went_on_is_not() -> None:
    assert told(bounce("Action: Delayed\nStatus: 4.4.1")) == ("delivery_delayed", DELIVERY, None, "4.4.1")
    assert told(bounce("Action: delivered\nStatus: 2.0.0")) == ("delivered", DELIVERY, None, None)
    for action in ("relayed", "expanded"):
        with pytest.raises(NoReport, match=f"went on \\({action}\\)"):
            read(bounce(f"Action: {action}\nStatus: 2.0.0"), NOW)


@pytest.mark.parametrize("kind", ["abuse", "Fraud"])
def test_a_complaint_is_one_and_its_opposite_is_none(kind: str) -> None:
    assert told(complaint(kind)) == ("complained", DELIVERY, None, None)
    with pytest.raises(NoReport, match="no complaint"):
        read(complaint("not-spam"), NOW)


def test_the_mail_is_found_wherever_a_server_names_it() -> None:
    header = f"Received: by mx\nMessage-ID:\n  <{DELIVERY}@acme.test>\nSubject: x\n"
    for back in (("text/rfc822-headers", header), ("message/rfc822-headers", header)):
        assert told(bounce(FAILED.format("5.1.1", ""), back))[1] == DELIVERY
    nothing = ("text/plain", "the mail is left out")
    fields = FAILED.format("5.1.1", "") + f"\nX-Original-Message-ID: <{str(DELIVERY).upper()}@acme.test>"
    assert told(bounce(fields, nothing))[1] == DELIVERY
    answer = f"In-Reply-To: <{DELIVERY}@acme.test>\n".encode() + bounce(FAILED.format("5.1.1", ""), nothing, "mixed")
    assert told(answer)[1] == DELIVERY
    with pytest.raises(NoReport, match="which mail of ours"):
        read(bounce(FAILED.format("5.1.1", ""), nothing), NOW)


def test_a_letter_and_a_bounce_that_somebody_passes_on_are_none() -> None:
    inner = bounce(FAILED.format("5.1.1", "")).decode().replace("cut", "within")
    for mail in (sent().encode(), report(("text/plain", "Look what I got"), ("message/rfc822", inner), kind="mixed")):
        with pytest.raises(NoReport, match="neither"):
            read(mail, NOW)


def test_the_same_report_is_the_same_event_and_another_is_another() -> None:
    mail = bounce(FAILED.format("5.1.1", ""))
    assert read(mail, NOW) == read(b"Received: once more\n" + mail, NOW)
    assert read(mail, NOW).webhook_id != read(bounce(FAILED.format("5.1.1", "")), NOW).webhook_id


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
@example(bounce(FAILED.format("5.1.1", ""))[:-400])
@example(bounce("Action: failed\nStatus: \xff\n"))
@example(complaint("abuse").replace(b"Feedback-Type", b"\xff\xfe"))
def test_no_mail_breaks_it(mail: bytes) -> None:
    with suppress(NoReport):
        assert isinstance(read(mail, NOW), WebhookReceived)


def test_a_report_is_stored_and_passed_on_without_words_and_addresses(gateway: Gateway, controller: Controller) -> None:
    delivery = uuid4()
    mail = bounce(FAILED.format("5.1.1", "550 5.1.1 ann@x.test: unknown"), ("message/rfc822", sent(delivery)))

    def post(body: bytes) -> dict:
        answer = gateway.http.post(PATH, content=body, headers={"content-type": "message/rfc822"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    stored = {"status": "stored", "event": "bounced", "delivery_id": str(delivery)}
    assert {**post(mail), "detail": None} == {**stored, "detail": None}
    page = controller.await_message(
        "email_webhooks_received", lambda m: any(i["delivery_id"] == str(delivery) for i in m["items"])
    )
    (item,) = [item for item in page["items"] if item["delivery_id"] == str(delivery)]
    assert (item["type"], item["bounce_type"], item["bounce_subtype"]) == ("email.bounced", "Permanent", "5.1.1")
    assert "ann@x.test" not in str(page) and "sorry" not in str(page)
    assert post(sent().encode())["status"] == "ignored"
    problem(gateway.http.post(PATH, content=b" \n"), 400, "malformed_request")
    problem(gateway.anonymous.post(PATH, content=mail), 401, "unauthorized")
    big = mail + b"x" * 2 * 1024 * 1024
    assert post(big)["status"] == "stored"
