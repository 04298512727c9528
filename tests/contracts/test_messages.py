"""The wire format, pinned: a golden JSON file per message, and the rules that let two versions talk."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints
from uuid import UUID

import msgspec
import pytest
from nurture_contracts import commands as c
from nurture_contracts import events as e
from nurture_contracts.base import Message
from nurture_contracts.topology import CONSUMERS, MESSAGES, STREAMS

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
A, B, C = (UUID(int=(7 << 76) | (2 << 62) | n) for n in (1, 2, 3))

SAMPLES: list[Message] = [
    c.StartSequences(
        command_id=A,
        sequence_type="onboarding",
        at=AT,
        single=True,
        user_ids=[B],
        context={"plan": "pro"},
        override_channel="email",
    ),
    c.CancelEnrolments(command_id=A, at=AT, enrolment_id=B),
    c.PublishSequence(command_id=A, at=AT, toml="format = 1\n", dry_run=True),
    c.SimulateSequence(command_id=A, at=AT, start_at=AT, sequence_type="onboarding", user_ids=[B], failing=["email"]),
    c.SendEmails(page_id=A, items=[B, C]),
    c.SendTelegrams(page_id=A, items=[B, C]),
    e.CommandSettled(command_id=A, at=AT, status=201, result={"enrolment_id": str(B)}),
    e.EmailsSettled(
        claim_id=A,
        items=[
            e.Settlement(delivery_id=B, outcome="accepted", at=AT, attempt=1, provider_id="p-1"),
            e.Settlement(delivery_id=C, outcome="rejected", at=AT, attempt=1, reason="validation_error"),
        ],
    ),
    e.TelegramsSettled(claim_id=A, items=[e.Settlement(delivery_id=B, outcome="unknown", at=AT, attempt=1)]),
    e.EmailsObserved(
        items=[
            e.Observation(event_id=A, kind="clicked", at=AT, delivery_id=B, link="00112233aabbccdd", signal="human"),
            e.Observation(event_id=C, kind="bounced", at=AT, provider_id="p-1", bounce="hard"),
        ]
    ),
    e.TestEmailsProgressed(items=[e.Observation(event_id=A, kind="sent", at=AT, delivery_id=B)]),
    e.AddressesSuppressed(items=[e.Suppression(user_id=A, channel="email", delivery_id=B, reason="bounced", at=AT)]),
    e.EmailWebhooksReceived(
        items=[e.WebhookReceived(webhook_id="msg_1", type="email.delivered", at=AT, delivery_id=B, provider_id="p-1")]
    ),
    c.ProcessDue(command_id=A, at=AT),
    c.ResendDeliveries(command_id=A, at=AT, delivery_id=B, may_have_arrived=True),
    c.ArchiveDeliveries(command_id=A, at=AT, channel="email"),
    c.PauseSequence(command_id=A, at=AT, sequence_type="onboarding", paused=True),
    c.RecordEvents(items=[c.ExternalEvent(event_id=A, event="attended", at=AT, user_id=B)]),
    e.TelegramsObserved(items=[e.Observation(event_id=A, kind="pressed", at=AT, delivery_id=B, signal="human")]),
    e.ChatsChanged(items=[e.ChatChange(event_id=A, user_id=B, change="linked", at=AT)]),
    e.EventsRecorded(items=[e.RecordedEvent(event_id=A, user_id=B, event="purchased", at=AT)]),
    e.TelegramUpdatesReceived(page_id=A),
    *(message(items=[A]) for message in c.REPLAY.values()),
    e.TrackingHit(
        items=[e.Hit(event_id=A, kind="clicked", delivery_id=B, at=AT, link="00112233aabbccdd", signal="human")]
    ),
]


def name(message: Message) -> str:
    return message.subject.removeprefix("nurture.")


@pytest.mark.parametrize("message", SAMPLES, ids=name)
def test_bytes_on_the_wire_are_those_of_the_golden_file(message: Message) -> None:
    golden = (GOLDEN / f"{name(message)}.json").read_bytes().strip()
    assert msgspec.json.encode(message) == golden
    assert msgspec.json.decode(golden, type=type(message)) == message


def test_every_message_of_the_topology_has_a_golden_file_and_no_file_is_left_over() -> None:
    assert {type(sample) for sample in SAMPLES} == set(MESSAGES)
    assert {path.stem for path in GOLDEN.glob("*.json")} == {name(sample) for sample in SAMPLES}


@pytest.mark.parametrize("message", SAMPLES, ids=name)
def test_a_field_from_the_future_is_ignored_also_inside_items(message: Message) -> None:
    raw: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(message))
    raw["from_the_future"] = {"deep": [1]}
    for item in raw.get("items", []):
        if isinstance(item, dict):
            item["from_the_future"] = 1
    assert msgspec.convert(raw, type(message), strict=False) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.__name__)
def test_fields_of_structs_are_frozen_and_times_carry_a_zone(message: type[Message]) -> None:
    assert message.__struct_config__.frozen
    if "at" in get_type_hints(message):
        good = msgspec.json.encode(next(sample for sample in SAMPLES if type(sample) is message))
        naive = good.replace(b"2026-03-01T09:00:00Z", b"2026-03-01T09:00:00")
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(naive, type=message)


def test_subjects_say_who_hears_or_who_says() -> None:
    rooms = {"controller", "email", "telegram", "scoring", "gateway"}
    for message in MESSAGES:
        root, kind, room, leaf = message.subject.split(".")
        assert (root, kind in {"cmd", "evt"}, room in rooms, leaf.isidentifier()) == ("nurture", True, True, True)
        assert (kind == "cmd") == (message.__module__ == "nurture_contracts.commands")


def test_consumers_are_unique_and_live_on_the_stream_that_holds_their_subject() -> None:
    assert len({consumer.durable for consumer in CONSUMERS}) == len(CONSUMERS)
    by_name = {stream.name: stream for stream in STREAMS}
    for consumer in CONSUMERS:
        (prefix,) = by_name[consumer.stream].subjects
        assert consumer.message.subject.startswith(prefix.rstrip(">"))
        room = consumer.durable.split("-")[0]
        if consumer.message.subject.startswith("nurture.cmd."):
            assert consumer.message.subject.split(".")[2] == room


def test_only_ids_travel_in_pages() -> None:
    """Names, addresses and bodies stay in PostgreSQL: no field of an item may carry them."""
    forbidden = {"address", "email", "name", "first_name", "body", "subject", "text", "html", "token"}
    for message in MESSAGES:
        hints = get_type_hints(message)
        item = getattr(hints.get("items"), "__args__", [None])[0]
        if item is not None and hasattr(item, "__struct_fields__"):
            assert not forbidden & set(item.__struct_fields__)
