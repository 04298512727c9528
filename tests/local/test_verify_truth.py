"""C3 to C5: what is said of a message is what happened to it. Each planted untruth must be found."""

from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace
from nurture_local.verify import checks
from nurture_local.verify.history import Ended, Snapshot

from tests.local.made_history import Broken, at, good, one_of, planted, second_effect, with_claim


def sent_without_effect(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    assert history.ledger is not None
    return replace(history, ledger=[effect for effect in history.ledger if effect.delivery_id != one.id]), one.id


def failed_with_effect(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "suppressed")
    assert history.ledger is not None
    return replace(history, ledger=[*history.ledger, replace(history.ledger[0], seq=99, delivery_id=one.id)]), one.id


def sent_by_nobodys_word(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "unknown")
    return replace(history, ledger=None, deliveries={**history.deliveries, one.id: replace(one, sent_at=at(5))}), one.id


def shared_provider_id(history: Snapshot) -> tuple[Snapshot, UUID]:
    one, two = [one for one in history.deliveries.values() if one.channel == "email" and one.left][:2]
    return replace(
        history, deliveries={**history.deliveries, two.id: replace(two, provider_id=one.provider_id)}
    ), two.id


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (sent_without_effect, "the ledger has no effect"),
        (failed_with_effect, "the ledger has an effect"),
        (sent_by_nobodys_word, "without a provider id"),
        (shared_provider_id, "is also that of"),
    ],
)
def test_c3_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c3_truth, why)


def nobody_planned(history: Snapshot) -> tuple[Snapshot, UUID]:
    id = uuid4()
    assert history.ledger is not None
    return replace(history, ledger=[*history.ledger, replace(history.ledger[0], seq=99, delivery_id=id)]), id


def other_words(history: Snapshot) -> tuple[Snapshot, UUID]:
    history, id = second_effect(history)
    assert history.ledger is not None
    return replace(
        history, ledger=[replace(one, payload_sha256="x") if one.seq == 99 else one for one in history.ledger]
    ), id


def other_address(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    assert history.ledger is not None
    ledger = [replace(e, recipient="other@example.test") if e.delivery_id == one.id else e for e in history.ledger]
    return replace(history, ledger=ledger), one.id


def unexplained(history: Snapshot) -> tuple[Snapshot, str]:
    assert history.ledger is not None
    stray = replace(history.ledger[0], seq=99, delivery_id=None, provider_id="em_stray", payload_sha256="x")
    return replace(history, ledger=[*history.ledger, stray]), "em_stray"


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (nobody_planned, "nobody planned it"),
        (other_words, "different words"),
        (other_address, "another address"),
        (unexplained, "no delivery explains"),
    ],
)
def test_c4_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c4_phantoms, why)


def test_c4_follows_a_chat_that_moved_and_knows_test_mails() -> None:
    history = good().snapshot()
    one, id = one_of(history, "telegram", "clicked"), uuid4()
    assert history.ledger is not None
    ledger = [replace(e, recipient="-100123") if e.delivery_id == one.id else e for e in history.ledger]
    mail = next(effect for effect in ledger if effect.channel == "email")
    ledger += [
        replace(mail, seq=99, delivery_id=id, key=None),
        replace(mail, seq=98, channel="telegram", delivery_id=None, provider_id="?"),
    ]
    moved = replace(history, ledger=ledger, tests=frozenset({id}), moved_chats={one.address: "-100123"})
    verdict = checks.c4_phantoms(moved)
    assert verdict.ok and "1 messages in chats are answers" in verdict.notes[0]


def never_tried(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "telegram", "unknown")
    claim = replace(history.telegram_claims[one.id], attempt=0)
    return replace(history, telegram_claims={**history.telegram_claims, one.id: claim}), one.id


def unknown_with_evidence(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "unknown")
    webhook = replace(history.events[0], event_id=uuid4(), delivery_id=one.id, kind="delivered")
    return replace(history, events=[*history.events, webhook]), one.id


def certain_after_all(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "unknown")
    return with_claim(history, one.id, results={one.id: Ended(outcome="rejected")}), one.id


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (never_tried, "nobody ever tried"),
        (unknown_with_evidence, "it was delivered"),
        (certain_after_all, "its claims say rejected"),
    ],
)
def test_c5_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c5_window, why)


def test_c5_bounds_unknowns_by_the_faults_that_explain_them() -> None:
    history = good().snapshot()
    explained = checks.c5_window(history, kills={"telegram": 1}, concurrency={"telegram": 4}, ambiguous={"email": 1})
    assert explained.ok and len(explained.listed) == 2 and "0 of them had arrived" in explained.notes
    unexplained = checks.c5_window(history, kills={"telegram": 0}, concurrency={"telegram": 4}, ambiguous={"email": 1})
    assert [bad.id for bad in unexplained.bad] == ["telegram"]
