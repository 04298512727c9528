from datetime import UTC, datetime
from uuid import UUID

import pytest
from nurture_contracts import events
from nurture_email import observations

AT = datetime(2026, 1, 1, tzinfo=UTC)
ID = UUID(int=5)


def webhook(type: str, **more: object) -> events.WebhookReceived:
    values = {"webhook_id": "msg_1", "type": type, "at": AT, "delivery_id": ID, "provider_id": "p", **more}
    return events.WebhookReceived(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("type", "more", "kind", "bounce", "reason"),
    [
        ("email.sent", {}, "sent", None, None),
        ("email.delivered", {}, "delivered", None, None),
        ("email.delivery_delayed", {}, "delayed", None, None),
        ("email.bounced", {"bounce_type": "Permanent"}, "bounced", "hard", "bounced"),
        ("email.bounced", {"bounce_type": "Transient"}, "bounced", "soft", None),
        ("email.bounced", {"bounce_type": "Undetermined"}, "bounced", "soft", None),
        ("email.complained", {}, "complained", None, "complained"),
        ("email.suppressed", {}, "suppressed", None, "suppressed"),
        ("email.failed", {}, "failed", None, None),
    ],
)
def test_webhooks(type: str, more: dict[str, str], kind: str, bounce: str | None, reason: str | None) -> None:
    observation = observations.of_webhook(webhook(type, **more))
    assert observation is not None
    assert (observation.kind, observation.bounce) == (kind, bounce)
    found = observations.report(observation)
    assert (found.reason if found else None) == reason


def test_a_webhook_that_comes_again_is_the_same_event() -> None:
    first, again = observations.of_webhook(webhook("email.sent")), observations.of_webhook(webhook("email.sent"))
    other = observations.of_webhook(webhook("email.sent", webhook_id="msg_2"))
    assert first and again and other
    assert first.event_id == again.event_id != other.event_id


@pytest.mark.parametrize("type", ["email.received", "contact.created", "domain.updated", "nonsense"])
def test_other_types_are_none_of_our_business(type: str) -> None:
    assert observations.of_webhook(webhook(type)) is None


def test_a_webhook_that_names_no_mail_is_dropped() -> None:
    assert observations.of_webhook(webhook("email.sent", delivery_id=None, provider_id=None)) is None


def test_a_hit_keeps_what_the_door_saw() -> None:
    hit = events.Hit(event_id=UUID(int=9), kind="clicked", delivery_id=ID, at=AT, link="ab" * 8, signal="machine")
    seen = observations.of_hit(hit)
    assert (seen.event_id, seen.kind, seen.link, seen.signal) == (UUID(int=9), "clicked", "ab" * 8, "machine")
