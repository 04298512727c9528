"""C8 to C10 and C12 to C14: nothing stands still, nothing goes too soon, too late or too fast, nothing leaks or grows."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from nurture_local.verify import checks, files
from nurture_local.verify.history import (
    ChatRefusal,
    Command,
    Contact,
    DeadLetter,
    Request,
    Snapshot,
    StartJob,
    Suppression,
)
from nurture_local.verify.inputs import Rate, Refused, Sample
from nurture_local.verify.timing import densest

from tests.local.made_history import CALM, Broken, at, good, one_of, planted, with_claim

# C8


def still_pending(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "unknown")
    blank = replace(one, unknown_at=None, status="pending")
    return replace(history, deliveries={**history.deliveries, one.id: blank}), one.id


def lease_ran_out(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "unknown")
    (claim,) = [claim for claim in history.claims if one.id in claim.members]
    return with_claim(history, one.id, state="open", results={}, lease_until=at(500)), claim.id


def volley_forgotten(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "telegram", "unknown")
    claim = replace(history.telegram_claims[one.id], state="sending", outcome=None, lease_until=at(500))
    return replace(history, telegram_claims={**history.telegram_claims, one.id: claim}), one.id


def never_said(history: Snapshot) -> tuple[Snapshot, UUID]:
    letter = history.outbox[0]
    return replace(history, outbox=[replace(letter, published_at=None), *history.outbox[1:]]), letter.id


def nobody_hears(history: Snapshot) -> tuple[Snapshot, str]:
    assert history.bus is not None
    kept = [one for one in history.bus.consumers if one.durable != "email-send"]
    return replace(history, bus=replace(history.bus, consumers=kept)), "email-send"


def ahead_of_its_stream(history: Snapshot) -> tuple[Snapshot, str]:
    assert history.bus is not None
    moved = [replace(one, delivered_seq=10**6) if one.durable == "email-send" else one for one in history.bus.consumers]
    return replace(history, bus=replace(history.bus, consumers=moved)), "email-send"


def behind(history: Snapshot) -> tuple[Snapshot, str]:
    assert history.bus is not None
    moved = [replace(one, ack_pending=2) if one.durable == "email-send" else one for one in history.bus.consumers]
    return replace(history, bus=replace(history.bus, consumers=moved)), "email-send"


def nobody_plans(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = next(iter(history.enrolments.values()))
    return replace(history, enrolments={**history.enrolments, one.id: replace(one, next_at=at(100))}), one.id


def nobody_answers(history: Snapshot) -> tuple[Snapshot, UUID]:
    command = Command(id=uuid4(), kind="publish", state="accepted", created_at=at(0), expires_at=at(10**6))
    return replace(history, commands={**history.commands, command.id: command}), command.id


def nobody_plans_a_request(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = Request(id=uuid4(), sequence_type="reminder", requested_at=at(0), next_at=at(100), cancelled_at=None)
    return replace(history, requests=[one]), one.id


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (nobody_plans_a_request, "due for 900 s, and nobody plans it"),
        (still_pending, "nothing has become of it"),
        (lease_ran_out, "its lease ran out 500 s ago"),
        (volley_forgotten, "its lease ran out 500 s ago"),
        (never_said, "has not published"),
        (nobody_hears, "is missing"),
        (ahead_of_its_stream, "it stands at 1000000"),
        (behind, "2 not acked"),
        (nobody_plans, "has been due for 900 s, and nobody plans it"),
        (nobody_answers, "has not been answered for 1000 s"),
    ],
)
def test_c8_finds_in_a_system_that_should_be_quiet(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c8_liveness, why)


@pytest.mark.parametrize(
    "break_it", [lease_ran_out, volley_forgotten, never_said, nobody_hears, nobody_plans, nobody_answers]
)
def test_c8_finds_what_patience_does_not_explain(break_it: Broken) -> None:
    history, id = break_it(good().snapshot())
    assert [bad.id for bad in checks.c8_liveness(history, patience=60).bad] == [str(id)]
    patient = checks.c8_liveness(history, patience=2000)
    assert patient.ok or break_it is nobody_hears


def test_c8_does_not_cry_about_a_queue_a_job_or_a_stop() -> None:
    history, id = still_pending(good().snapshot())
    verdict = checks.c8_liveness(history, patience=60)
    assert (verdict.bad, [one.id for one in verdict.open]) == ([], [str(id)])
    assert "1 not ended, the oldest for 1,000 s" in verdict.notes
    history, id = nobody_answers(good().snapshot())
    assert isinstance(id, UUID)
    job = StartJob(command_id=id, people=9, cursor=3, started=0, running=0, done=False)
    assert checks.c8_liveness(replace(history, jobs={id: job}), patience=60).ok
    history, _ = nobody_plans(good().snapshot())
    assert checks.c8_liveness(replace(history, held="paused"), patience=60).ok
    history, _ = nobody_plans_a_request(good().snapshot())
    assert checks.c8_liveness(replace(history, paused_types=frozenset({"reminder"}))).ok


def test_c8_lists_dead_letters() -> None:
    letter = DeadLetter(room="email", id=uuid4(), durable="email-send", reason="not JSON", at=at(1), payload=b"?")
    verdict = checks.c8_liveness(replace(good().snapshot(), dead_letters=[letter, replace(letter, replayed_at=at(2))]))
    assert verdict.ok and len(verdict.listed) == 1


# C9


def refuse(history: Snapshot, seconds: float) -> tuple[Snapshot, UUID]:
    """The person behind the pressed message had refused the channel; the message went at second 1."""
    one = one_of(history, "telegram", "clicked")
    said = Contact(
        user_id=one.user_id, channel="telegram", address=one.address, state="ok", consent="refused", consent_at=at(seconds),
        changed_at=at(seconds),
    )  # fmt: skip
    contacts = [said if (c.user_id, c.channel) == (one.user_id, "telegram") else c for c in history.contacts]
    return replace(history, contacts=contacts), one.id


def test_c9_finds_what_went_after_a_refusal_in_business_time() -> None:
    history, id = refuse(good().snapshot(), -11)
    assert [bad.id for bad in checks.c9_suppression(history).bad] == [str(id)]
    for seconds, speed in ((-8, 1.0), (50, 1.0), (-600, 1440.0)):
        allowed, _ = refuse(good().snapshot(), seconds)
        assert checks.c9_suppression(replace(allowed, speed=speed)).ok


def test_c9_finds_what_went_after_a_client_a_chat_or_a_provider_had_said_no() -> None:
    history = good().snapshot()
    one, mail = one_of(history, "telegram", "clicked"), one_of(history, "email", "clicked")
    word = Refused(user_id=one.user_id, channel="telegram", real_at=at(-20).timestamp())
    assert [bad.id for bad in checks.c9_suppression(history, refused=[word]).bad] == [str(one.id)]
    chat = ChatRefusal(chat_id=one.address, at=at(-20))
    assert [bad.id for bad in checks.c9_suppression(replace(history, chat_refusals=[chat])).bad] == [str(one.id)]
    # The complaint is about an earlier message to the same address, and was heard 20 s before this one went.
    earlier = uuid4()
    complaint = replace(
        history.events[0], event_id=uuid4(), delivery_id=earlier, kind="complained", received_at=at(-20)
    )
    known = Suppression(address_key=mail.address, reason="complained", at=at(-30), delivery_id=earlier)
    reported = replace(history, suppressions=[known], events=[*history.events, complaint])
    assert [bad.id for bad in checks.c9_suppression(reported).bad] == [str(mail.id)]
    heard_later = replace(complaint, received_at=at(5))
    assert checks.c9_suppression(replace(reported, events=[*history.events, heard_later])).ok


# C10


def too_soon(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    return replace(history, deliveries={**history.deliveries, one.id: replace(one, scheduled_at=at(2))}), one.id


def too_late(history: Snapshot) -> tuple[Snapshot, UUID]:
    one = one_of(history, "email", "clicked")
    return replace(history, deliveries={**history.deliveries, one.id: replace(one, expires_at=at(-61))}), one.id


@pytest.mark.parametrize(("break_it", "why"), [(too_soon, "before its time"), (too_late, "after it had expired")])
def test_c10_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c10_schedule, why)


def test_c10_excuses_what_may_have_arrived_in_time() -> None:
    history, id = too_late(good().snapshot())
    assert isinstance(id, UUID)
    assert checks.c10_schedule(with_claim(history, id, may_have_arrived=True)).ok


def test_c10_counts_calls_in_every_second() -> None:
    history = good().snapshot()
    assert history.ledger is not None
    mail = next(effect for effect in history.ledger if effect.channel == "email")
    chat = next(effect for effect in history.ledger if effect.channel == "telegram")
    one_call = [replace(mail, seq=100 + n, real_at=1000.0) for n in range(50)]
    calls = [replace(chat, seq=200 + n, recipient=str(n), real_at=2000.5 + n / 10) for n in range(8)]
    crowded = replace(history, ledger=[*one_call, *calls])
    assert checks.c10_schedule(crowded, rates={"email": Rate(per_second=1, slack=0)}).ok
    assert checks.c10_schedule(crowded, rates={"telegram": Rate(per_second=8, slack=0)}).ok
    verdict = checks.c10_schedule(crowded, rates={"telegram": Rate(per_second=6, slack=1)})
    assert "8 calls in the second from 2000.500" in verdict.bad[0].why
    same = [replace(effect, recipient="7") for effect in calls]
    to_one = checks.c10_schedule(replace(history, ledger=same), rates={"telegram": Rate(per_second=9, per_chat=2)})
    assert "8 messages to one chat" in to_one.bad[0].why


@CALM
@given(st.lists(st.integers(0, 40).map(lambda eighth: eighth / 8), max_size=20))
def test_the_busiest_second_is_found(times: list[float]) -> None:
    times.sort()
    wanted = max((sum(start <= one < start + 1 for one in times) for start in times), default=0)
    assert densest(times)[0] == wanted


# C12 to C14


def said_twice(history: Snapshot) -> tuple[Snapshot, str]:
    assert history.bus is not None and history.bus.messages is not None
    again = replace(history.bus.messages[0], seq=999, at=at(30))
    return replace(history, bus=replace(history.bus, messages=[*history.bus.messages, again])), str(again.msg_id)


def address_on_the_bus(history: Snapshot) -> tuple[Snapshot, str]:
    assert history.bus is not None and history.bus.messages is not None
    first = replace(history.bus.messages[0], personal=("p2@example.test",))
    bus = replace(history.bus, messages=[first, *history.bus.messages[1:]])
    return replace(history, bus=bus), f"{first.stream}:{first.seq}"


@pytest.mark.parametrize(
    ("break_it", "why"), [(said_twice, "30.0 s apart"), (address_on_the_bus, "1 addresses in a message")]
)
def test_c12_finds(break_it: Broken, why: str) -> None:
    planted(break_it, checks.c12_bus, why)


def test_c12_lets_a_message_be_said_again_after_the_window() -> None:
    history, _ = said_twice(good().snapshot())
    assert history.bus is not None
    streams = [replace(one, duplicate_window=20.0) for one in history.bus.streams]
    assert checks.c12_bus(replace(history, bus=replace(history.bus, streams=streams))).ok


def test_c12_and_c13_find_words_in_files(tmp_path: Path) -> None:
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "1.blk").write_bytes(b"\x00\xffto: p2@example.test;\x00")
    (tmp_path / "email.log").write_text("all is well\nkey re_secret_4711 was used\n")
    found = files.below([tmp_path, tmp_path / "nowhere"])
    assert [path.name for path in found] == ["email.log", "1.blk"]
    personal = list(files.personal(found, frozenset({"p2@example.test", "1234567"})))
    assert [(Path(hit.path).name, hit.offset) for hit in personal] == [("1.blk", 6)]
    verdict = checks.c12_bus(good().snapshot(), hits=personal, bytes_read=100)
    assert not verdict.ok and "p2@example.test" not in str(verdict)
    needles = {"RESEND_API_KEY": "re_secret_4711", "SECRET_KEY": "never", "unset": ""}
    leaked = checks.c13_secrets(files.search(found, needles), canaries=2, files=len(found))
    assert (len(leaked.bad), leaked.of) == (1, 2) and "re_secret_4711" not in str(leaked)
    assert leaked.bad[0].why == "RESEND_API_KEY stands there 1 times, first at byte 16"
    assert checks.c13_secrets((), canaries=0, files=3).skipped


@CALM
@given(st.integers(2, 40), st.integers(0, 60), st.integers(0, 60))
def test_a_word_is_found_once_wherever_pieces_end(
    tmp_path_factory: pytest.TempPathFactory, piece: int, one: int, two: int
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "file"
    path.write_bytes(b"." * one + b"needle" + b"." * two + b"needle")
    found = [hit.offset for hit in files.search([path], {"n": "needle"}, piece=piece)]
    assert found == [one, one + 6 + two]


def test_a_number_is_a_chat_only_when_it_stands_alone() -> None:
    known = frozenset({"1234567", "ada@example.test"})
    assert files.addresses_in(b'{"chat":"1234567:8"}', known) == {"1234567"}
    assert files.addresses_in(b"019312345670 x1234567 1234567a", known) == set()
    assert files.addresses_in(b"<Ada@Example.test>", known) == {"ada@example.test"}


def test_c14_finds_what_grows() -> None:
    steady = [Sample(float(n), 20 + n % 3) for n in range(30)]
    growing = [Sample(float(n), 20 + 2 * n) for n in range(30)]
    assert checks.c14_resources({"email": steady}).ok
    verdict = checks.c14_resources({"email": steady, "telegram": growing[::-1]})
    assert [bad.id for bad in verdict.bad] == ["telegram"]
    assert checks.c14_resources({"email": steady[:3]}).skipped
