"""A thousand people on both channels at a day a minute: who gets what where and when, one fallback on a known failure, scores that decide the next sequence."""

import math
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.journeys.system import System, eventually, running
from tests.journeys.test_walk import import_sample

HALF_LIFE = 30 * 86_400.0
LANDMARK = datetime(2026, 1, 1, tzinfo=UTC)
FLEETING = ("+bounce@", "+complain@", "blocker")
SECOND = """
format = 1
type = "second"
title = "Second"

[[steps]]
when = "now"
channel = "auto"
fallback = "auto"
subject = "For somebody in the middle"
body = "Hello {{ user_name }}, this is for the middle."

[steps.wordings.low]
subject = "For somebody quiet"
body = "Hello {{ user_name }}, this is for the quiet."

[steps.wordings.high]
subject = "For somebody keen"
body = "Hello {{ user_name }}, this is for the keen."
"""


def by_step(rows: list[dict[str, Any]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    steps: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["id"]):
        steps[row["enrolment_id"], row["message_step"]].append(row)
    return steps


def every_delivery(system: System) -> list[dict[str, Any]]:
    return [dict(row) for row in system.rows("select * from message_deliveries")]


def weight(at: datetime) -> float:
    return 2.0 ** ((at - LANDMARK).total_seconds() / HALF_LIFE)


def recomputed(system: System) -> dict[tuple[str, str], tuple[float, float]]:
    """R and N of every person and channel, from the log of what happened, by the formula of the documentation."""
    worth = {"pressed": 1.0, "replied": 1.0, "clicked": 1.0, "opened": 0.2}
    sure = {"human": 0.6, "unknown": 0.3, "machine": 0.0}
    arrived: dict[Any, datetime] = {}
    answers: dict[Any, list[tuple[str, datetime, str]]] = defaultdict(list)
    about: dict[Any, tuple[str, str]] = {}
    log = system.rows(
        "select e.delivery_id, e.kind, e.at, e.detail::text as detail, d.user_id, d.channel "
        "from delivery_events e join message_deliveries d on d.id = e.delivery_id"
    )
    for row in log:
        channel = row["channel"]
        about[row["delivery_id"]] = str(row["user_id"]), channel
        if row["kind"] == ("delivered" if channel == "email" else "sent"):
            known = arrived.get(row["delivery_id"])
            arrived[row["delivery_id"]] = min(known, row["at"]) if known else row["at"]
        elif row["kind"] in worth:
            signal = next(s for s in sure if f'"signal": "{s}"' in row["detail"])
            answers[row["delivery_id"]].append((row["kind"], row["at"], signal))
    totals: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for delivery, at in arrived.items():
        credit = 0.0
        for kind, when, signal in answers[delivery]:
            certain = 1.0 if kind in ("pressed", "replied") else sure[signal]
            # Mail scanners follow links at once; in a chat it is people who do.
            if about[delivery][1] == "email" and kind in ("opened", "clicked") and 0 <= (when - at).total_seconds() < 7:
                certain = 0.0
            credit = max(credit, worth[kind] * certain)
        total = totals[about[delivery]]
        total[0] += credit * weight(at)
        total[1] += weight(at)
    return {key: (r, n) for key, (r, n) in totals.items()}


@pytest.mark.long
@pytest.mark.timeout(420)
def test_at_speed_1440_steps_come_in_the_morning_and_the_loop_closes(data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir, "--speed", "1440") as system:
        import_sample(system, tmp_path)
        # Some who would rather chat, but have blocked the bot (7) or will (9): their email takes over.
        file = tmp_path / "blockers.csv"
        blockers = "".join(
            f"b{n},B{n},blocker{n}+open@example.test,{800_000_000 + n * 10 + (7 if n % 2 else 9)},telegram\n"
            for n in range(40)
        )
        file.write_text("external_id,first_name,email,telegram_chat_id,preferred_channel\n" + blockers)
        system.cli("people", "import", str(file))
        started = system.trigger_all()
        assert started["started"] > 800

        people = {user["id"]: user for user in system.pages("/admin/api/users") if user.get("email")}
        # Those who bounce, complain or block may get no further message.
        lasting = {id for id, user in people.items() if not any(mark in user["email"] for mark in FLEETING)}

        def three_steps() -> bool:
            (row,) = system.rows(
                "select count(*) as n from (select user_id from message_deliveries where sent_at is not null "
                "and user_id::text = any($1) group by user_id having count(distinct message_step) >= 3) as done",
                sorted(lasting),
            )
            return row["n"] == len(lasting)

        eventually(three_steps, within=280, what=f"three steps for {len(lasting)} people")
        steps_came_in_order_at_local_mornings(system, people, lasting)
        rows = every_delivery(system)
        assert {row["channel"] for row in rows} == {"email", "telegram"}
        one_channel_a_step(rows)
        reached_on_the_other_side(rows)
        assert system.ledger()["repeats"] == 0
        decisions_were_followed(system)

        # Let what is on its way come home, then compare with the log.
        system.post("/admin/api/sequences/onboarding/pause")
        scores_are_those_of_the_log(system)

        file = tmp_path / "second.toml"
        file.write_text(SECOND)
        system.cli("sequences", "publish", str(file))
        system.trigger_all("second")
        eventually(lambda: not system.counts().get("pending"), within=60, what="the second sequence")
        words_and_channel_follow_the_scores(system)


def steps_came_in_order_at_local_mornings(system: System, people: dict[str, Any], lasting: set[str]) -> None:
    zones = {user["timezone"] for user in people.values()}
    assert len(zones) > 5, zones
    by_person: dict[str, list[tuple[int, datetime]]] = defaultdict(list)
    for row in system.rows(
        "select user_id::text, message_step, sent_at from message_deliveries where sent_at is not null"
    ):
        by_person[row["user_id"]].append((row["message_step"], row["sent_at"]))
    mornings = 0
    for person in lasting:
        ordered = sorted(by_person[person])
        steps, times = [step for step, _ in ordered], [at for _, at in ordered]
        assert steps == list(range(1, len(steps) + 1)), (person, ordered)
        assert times == sorted(times)
        if people[person]["preferred_time"] == "morning":
            for at in times[1:3]:
                local = at.astimezone(ZoneInfo(people[person]["timezone"]))
                assert 9 <= local.hour < 12, (people[person]["email"], local)
                mornings += 1
    assert mornings > 500


def one_channel_a_step(rows: list[dict[str, Any]]) -> None:
    """Two deliveries of a step mean a failed one and its fallback, on the other channel; nothing else."""
    for (_, step), tried in by_step(rows).items():
        if len(tried) == 1:
            continue
        first, second = tried
        assert second["fallback_of"] == first["id"], (step, tried)
        assert first["channel"] != second["channel"]
        assert first["status_detail"] in ("bounced", "failed", "suppressed"), first
        assert not (first["delivered_at"] or first["opened_at"] or first["clicked_at"]), first


def reached_on_the_other_side(rows: list[dict[str, Any]]) -> None:
    """Bounces reached Telegram, blocks reached email, each once."""
    saved = Counter(
        (first["channel"], second["channel"]) for first, second in (t for t in by_step(rows).values() if len(t) == 2)
    )
    assert saved["email", "telegram"] > 0, saved
    assert saved["telegram", "email"] > 0, saved


def decisions_were_followed(system: System) -> None:
    """Every delivery has the channel that its recorded decision chose, and reasons in words."""
    for row in system.rows(
        "select d.channel, w.decision::text as d from message_deliveries d join delivery_decisions w on w.delivery_id = d.id"
    ):
        assert f'"channel": "{row["channel"]}"' in row["d"]
        assert '"reasons": [{' in row["d"]


def scores_are_those_of_the_log(system: System) -> None:
    def agree() -> bool:
        wanted = recomputed(system)
        stored = {
            (str(row["user_id"]), row["kind"]): (row["r"], row["n"])
            for row in system.rows(
                "select user_id, kind, r, n from engagement_states where kind in ('email', 'telegram')"
            )
        }
        return all(
            math.isclose(stored.get(key, (0.0, 0.0))[0], r, rel_tol=1e-6, abs_tol=1e-6)
            and math.isclose(stored.get(key, (0.0, 0.0))[1], n, rel_tol=1e-6, abs_tol=1e-6)
            for key, (r, n) in wanted.items()
        )

    eventually(agree, within=60, what="scores equal to their recomputation from the log")
    values = {row["score"] for row in system.rows("select score from engagement_scores where score_type = 'overall'")}
    assert len(values) > 3, "scores move"
    assert all(0 <= value <= 100 for value in values)


def words_and_channel_follow_the_scores(system: System) -> None:
    subjects = {"low": "For somebody quiet", "medium": "For somebody in the middle", "high": "For somebody keen"}
    seen: Counter[str] = Counter()
    by_score: Counter[str] = Counter()
    rows = system.rows(
        "select d.subject, d.channel, d.fallback_of, w.decision->'inputs'->>'tier' as tier, w.decision->'reasons'->0->>'code' as why, "
        "(w.decision->'inputs'->'scores'->>'email')::float as email, (w.decision->'inputs'->'scores'->>'telegram')::float as telegram "
        "from message_deliveries d join delivery_decisions w on w.delivery_id = d.id where d.sequence_type = 'second' and d.subject <> ''"
    )
    for row in rows:
        assert row["subject"] == subjects[row["tier"]], row
        seen[row["tier"]] += 1
        if row["why"] == "score_channel":
            better = max(
                ("email", "telegram"), key=lambda channel, row=row: row[channel] if row[channel] is not None else 20.0
            )
            assert row["channel"] == better, row
            by_score[better] += 1
    assert len(seen) >= 2, seen
    assert by_score["telegram"] > 0, by_score


def test_a_person_links_a_chat_from_an_email_and_is_written_to_there_next(system: System) -> None:
    from uuid import uuid4

    name = f"linda-{uuid4().hex[:8]}"
    person = system.person(name, email=f"{name}@example.test", preferred_channel="telegram")
    system.answer({"user_id": person, "sequence_type": "onboarding"})
    (mail,) = eventually(lambda: system.messages(to=f"{name}@example.test"))
    assert mail["channel"] == "email", "nobody can be written to on Telegram before they said hello"
    (link,) = set(re.findall(r"https?://[^\s\"<>)]+[?]start=[A-Za-z0-9_-]+", mail["html"] + mail["text"]))
    chat = str(700_000_000_000 + int(uuid4().hex[:8], 16) * 10 + 2)
    token = link.split("start=")[1]
    assert (
        system.inbox.post("/api/telegram/say", json={"chat_id": int(chat), "text": f"/start {token}"}).status_code < 300
    )

    def linked() -> bool:
        return system.api.get(f"/admin/api/users/{person}").json().get("telegram_chat_id") == chat

    eventually(linked, within=30, what="the chat to be linked")
    told = system.answer({"user_id": person, "sequence_type": "re_engagement"}).json()
    assert told["channel"] == "telegram"
    eventually(
        lambda: [m for m in system.messages(channel="telegram", to=chat) if m["delivery_id"] == told["delivery_id"]]
    )

    # The token is used up: another chat gets nothing by it.
    thief = str(int(chat) + 10)
    system.inbox.post("/api/telegram/say", json={"chat_id": int(thief), "text": f"/start {token}"})
    eventually(lambda: system.messages(channel="telegram", to=thief), what="an explanation for the second chat")
    assert system.api.get(f"/admin/api/users/{person}").json()["telegram_chat_id"] == chat

    # /stop is heard at once and holds.
    system.inbox.post("/api/telegram/say", json={"chat_id": int(chat), "text": "/stop"})

    def refused() -> bool:
        contacts = system.api.get(f"/admin/api/users/{person}").json()["contacts"]
        return any(c["channel"] == "telegram" and c["consent"] == "refused" for c in contacts)

    eventually(refused, within=30, what="the refusal")
    follow_up = {"user_id": person, "sequence_type": "commitment_follow_up"}
    assert system.answer(follow_up).json()["channel"] == "email"

    # Until the person wants it again, on the page that their messages lead to.
    (page,) = set(re.findall(r"https?://[^\s\"<>/]+(/t/c/[A-Za-z0-9_-]+)", mail["html"]))
    wanted = {"email_sequences": "on", "telegram_sequences": "on", "preferred_channel": "telegram"}
    assert "Saved" in system.api.post(system.api.get(page).headers["location"], data=wanted).text
    assert system.post("/admin/api/nurture/cancel", follow_up).status_code < 300
    told = system.answer(follow_up).json()
    assert told["channel"] == "telegram"
    eventually(
        lambda: [m for m in system.messages(channel="telegram", to=chat) if m["delivery_id"] == told["delivery_id"]],
        what="a message after they wanted them again",
    )


@pytest.mark.long
def test_stop_in_the_middle_of_a_run_is_heeded_by_every_later_claim(data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir, env={"TELEGRAM_RATE_LIMIT": "20"}) as system:
        file = tmp_path / "chats.csv"
        chats = [str(900_000_000 + n * 10 + 2) for n in range(200)]
        file.write_text(
            "external_id,first_name,telegram_chat_id\n" + "".join(f"c{n},C{n},{chat}\n" for n, chat in enumerate(chats))
        )
        system.cli("people", "import", str(file))
        started = system.trigger({"segment": "all", "sequence_type": "onboarding"}).json()
        eventually(lambda: len(system.messages(channel="telegram")) > 10, what="the run's first messages")
        leaving = chats[-40::4]
        for chat in leaving:
            system.inbox.post("/api/telegram/say", json={"chat_id": int(chat), "text": "/stop"})
        told = "select chat_id, at from telegram.refusals where chat_id = any($1)"

        def heard() -> dict[str, datetime]:
            found = {row["chat_id"]: row["at"] for row in system.rows(told, leaving)}
            return found if len(found) == len(leaving) else {}

        refused = eventually(heard, within=30, what="ten refusals")
        system.settled(started["command_id"])
        system.quiet(len(chats), within=60)
        claims = system.rows(
            "select chat_id, claimed_at, outcome from telegram.claims where chat_id = any($1)", leaving
        )
        for claim in claims:
            assert claim["outcome"] == "suppressed" or claim["claimed_at"] <= refused[claim["chat_id"]], claim
        spared = [row for row in system.deliveries() if row["status_detail"] == "suppressed"]
        assert {row["recipient_address"] for row in spared} & set(leaving), "nobody left in time to be spared"
        assert {message["to"] for message in system.messages(channel="telegram")} >= set(chats) - set(leaving)
