"""Webhooks and the people behind the addresses, as a gateway would hear them."""

import signal
from datetime import datetime

import msgspec
import pytest
from sandbox_process import SECRET, Heard, Receiver, SandboxProcess, mail, tracked_mail
from standardwebhooks.webhooks import Webhook

DELIVERY = {"name": "delivery_id", "value": "0198c0de-0000-7000-8000-000000000002"}


def verify(webhook: Heard) -> None:
    standard = {name.replace("svix", "webhook"): value for name, value in webhook.headers.items()}
    Webhook(SECRET).verify(webhook.body, standard)


def webhook_types(heard: list[Heard]) -> list[str]:
    return [one.type for one in heard if one.path == "/webhook"]


def test_sent_and_delivered_are_signed_and_carry_the_tags(sandbox: SandboxProcess, receiver: Receiver) -> None:
    email_id = sandbox.send(tags=[DELIVERY])
    sent, delivered = receiver.webhooks("email.sent", "email.delivered")
    for webhook in (sent, delivered):
        verify(webhook)
        assert webhook.data["email_id"] == email_id
        assert webhook.data["to"] == ["ann@example.com"]
        assert webhook.data["subject"] == "Welcome"
        assert webhook.data["tags"] == {"delivery_id": DELIVERY["value"]}
    assert sent.headers["svix-id"] != delivered.headers["svix-id"]


def test_tags_can_come_as_an_array(sandbox: SandboxProcess, receiver: Receiver) -> None:
    sandbox.chaos(tags_as_array=True)
    sandbox.send(tags=[DELIVERY])
    (sent,) = receiver.webhooks("email.sent")
    assert sent.data["tags"] == [DELIVERY]


@pytest.mark.parametrize("address", ["ann+bounce@example.com", "bounced@resend.dev", "bounced+label@resend.dev"])
def test_a_bounce(sandbox: SandboxProcess, receiver: Receiver, address: str) -> None:
    email_id = sandbox.send(address)
    (bounced,) = receiver.webhooks("email.bounced")
    assert (bounced.data["bounce"]["type"], bounced.data["bounce"]["subType"]) == ("Permanent", "General")
    assert sandbox.client.get(f"/emails/{email_id}").json()["last_event"] == "bounced"
    assert "email.delivered" not in webhook_types(receiver.heard)


@pytest.mark.parametrize("address", ["Ann+Complain@example.com", "complained@resend.dev"])
def test_a_complaint_follows_delivery(sandbox: SandboxProcess, receiver: Receiver, address: str) -> None:
    email_id = sandbox.send(address)
    delivered, complained = receiver.webhooks("email.delivered", "email.complained")
    assert delivered.data["email_id"] == complained.data["email_id"] == email_id
    assert sandbox.summary()["by_state"] == {"complained": 1}


def test_an_opener_loads_the_pixel_and_no_more(sandbox: SandboxProcess, receiver: Receiver) -> None:
    sandbox.client.post("/emails", json=tracked_mail(receiver.url, "ann+open@example.com"))
    opened = receiver.visit("/t/o/")
    assert (opened.method, opened.path) == ("GET", "/t/o/pixel")
    assert opened.headers["user-agent"].startswith("Mozilla/5.0 (")
    receiver.webhooks("email.sent", "email.delivered")
    assert {one.path for one in receiver.heard} == {"/webhook", "/t/o/pixel"}
    assert set(webhook_types(receiver.heard)) == {"email.sent", "email.delivered"}


def test_a_clicker_opens_and_follows_the_first_tracked_link(sandbox: SandboxProcess, receiver: Receiver) -> None:
    receiver.answer = lambda heard: 302 if heard.path.startswith("/t/c/") else 200
    sandbox.client.post("/emails", json=tracked_mail(receiver.url, "ann+click@example.com"))
    assert receiver.visit("/t/c/").path == "/t/c/first"
    receiver.visit("/t/o/")
    receiver.webhooks("email.delivered")
    assert {"email.opened", "email.clicked"}.isdisjoint(webhook_types(receiver.heard))
    assert not [one for one in receiver.heard if one.path == "/t/c/second"]


def test_links_with_a_public_name_are_visited_on_this_machine(sandbox: SandboxProcess, receiver: Receiver) -> None:
    sandbox.client.post("/emails", json=tracked_mail("https://nurture.example.org", "ann+open@example.com"))
    assert receiver.visit("/t/o/").path == "/t/o/pixel"


def test_a_webhook_is_retried_under_its_id_until_it_is_taken(sandbox: SandboxProcess, receiver: Receiver) -> None:
    receiver.answer = lambda _: 500 if len(receiver.heard) < 4 else 204
    sandbox.send()
    heard = receiver.wait(lambda heard: len(heard) >= 6)
    tries: dict[str, set[bytes]] = {}
    for webhook in heard:
        verify(webhook)
        tries.setdefault(webhook.headers["svix-id"], set()).add(webhook.body)
    assert len(tries) == 2
    assert all(len(bodies) == 1 for bodies in tries.values())


def test_duplicate_mode_posts_each_webhook_twice(sandbox: SandboxProcess, receiver: Receiver) -> None:
    sandbox.chaos(webhooks="duplicate")
    sandbox.send()
    heard = receiver.wait(lambda heard: len(heard) >= 4)
    assert len({one.headers["svix-id"] for one in heard}) == 2


def test_under_load_each_webhook_comes_once(start, receiver: Receiver) -> None:
    sandbox: SandboxProcess = start(SANDBOX_RATE_LIMIT="1000")
    for batch in range(10):
        sandbox.client.post("/emails/batch", json=[mail(f"n{batch}.{n}@example.com") for n in range(100)])
    receiver.wait(lambda heard: len({one.headers["svix-id"] for one in heard}) == 2000)
    assert len(receiver.heard) == 2000
    sandbox.stop()
    assert start().summary()["webhooks"] == {"pending": 0, "done": 2000}


def test_shuffle_mode_lets_delivered_overtake_sent(sandbox: SandboxProcess, receiver: Receiver) -> None:
    sandbox.chaos(webhooks="shuffle")
    sandbox.client.post("/emails/batch", json=[mail(f"s{n}@example.com") for n in range(60)])
    heard = receiver.wait(lambda heard: len(heard) >= 120)
    first = {one.data["email_id"]: one.type for one in reversed(heard)}
    assert set(first.values()) == {"email.sent", "email.delivered"}


def test_webhooks_held_back_come_when_switched_on(sandbox: SandboxProcess, receiver: Receiver) -> None:
    sandbox.chaos(webhooks="off")
    sandbox.client.post("/emails", json=tracked_mail(receiver.url, "ann+open@example.com"))
    receiver.visit("/t/o/")
    assert webhook_types(receiver.heard) == []
    sandbox.chaos(webhooks="on")
    receiver.webhooks("email.sent", "email.delivered")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_the_ledger_the_keys_and_the_pending_webhooks(
    start, receiver: Receiver, how: signal.Signals
) -> None:
    receiver.answer = lambda _: 503
    first: SandboxProcess = start()
    batch = [mail(f"r{n}@example.com", tags=[DELIVERY]) for n in range(5)]
    call = {"json": batch, "headers": {"idempotency-key": "restart/1"}}
    reply = first.client.post("/emails/batch", **call)
    receiver.wait(lambda heard: len(heard) >= 5)
    before = first.messages()
    first.stop(how)

    refused = len(receiver.heard)
    receiver.answer = lambda _: 200
    second: SandboxProcess = start()
    again = second.messages()
    assert [message["id"] for message in again] == [message["id"] for message in before]
    assert second.client.post("/emails/batch", **call).json() == reply.json()
    wanted = {(one["id"], kind) for one in reply.json()["data"] for kind in ("email.sent", "email.delivered")}
    receiver.wait(lambda heard: {(one.data["email_id"], one.type) for one in heard[refused:]} == wanted)
    assert second.summary()["messages"] == 5
    assert second.summary()["repeats"] == 4


def test_times_in_mails_and_webhooks_are_business_time(start, receiver: Receiver) -> None:
    epoch = datetime.fromisoformat("2031-05-01T00:00:00+00:00").timestamp()
    sandbox: SandboxProcess = start(NURTURE_CLOCK=f"1440@0@{epoch - 1440 * datetime.now().timestamp()}")
    sandbox.send()
    (delivered,) = receiver.webhooks("email.delivered")
    verify(delivered)
    assert msgspec.json.decode(delivered.body)["created_at"].startswith("2031-05-01T")
    (message,) = sandbox.messages()
    assert message["at"].startswith("2031-05-01T")
    assert delivered.data["created_at"] == message["at"]
