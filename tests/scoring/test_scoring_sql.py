"""The published functions compute what the formula in Python does, and views say what is behind a score."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from nurture_contracts.commands import RecordEvents
from nurture_contracts.events import EmailsObserved, TelegramsSettled
from nurture_scoring import formula
from scoring_stand import Stand, accepted, at, did, observed


def test_functions_equal_the_formula(play) -> None:
    async def scene(stand: Stand) -> None:
        source = random.Random(20260101)
        rows = []
        for _ in range(4000):
            when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=source.uniform(-4e7, 3e8))
            scale = formula.weight(when.timestamp())
            n = source.choice([0, source.uniform(0, 5), source.uniform(0, 500)]) * scale
            mean_n = source.choice([0, source.uniform(0, 20), source.uniform(0, 1e6)]) * scale
            rows.append((source.uniform(0, 1.3) * n, n, source.uniform(0, 1.1) * mean_n, mean_n, when))
        found = await stand.admin.fetch(
            "select engagement_weight_at(at) as weight, engagement_mean_at(mr, mn, at) as mean,"
            " engagement_score_at(r, n, mr, mn, at) as score"
            " from unnest($1::float8[], $2::float8[], $3::float8[], $4::float8[], $5::timestamptz[])"
            " with ordinality as x(r, n, mr, mn, at, place) order by place",
            *map(list, zip(*rows, strict=True)),
        )
        for (r, n, mean_r, mean_n, when), row in zip(rows, found, strict=True):
            seconds = when.timestamp()
            assert row["weight"] == pytest.approx(formula.weight(seconds), rel=1e-12)
            assert row["mean"] == pytest.approx(formula.mean_rate(mean_r, mean_n, seconds), rel=1e-12)
            assert float(row["score"]) == pytest.approx(formula.score(r, n, mean_r, mean_n, seconds), abs=0.00501)

    play(scene)


def test_functions_are_immutable_and_take_anything(play) -> None:
    async def scene(stand: Stand) -> None:
        volatility = await stand.admin.fetch("select provolatile from pg_proc where proname like 'engagement_%_at'")
        assert [row["provolatile"] for row in volatility] == [b"i"] * 3
        for when in ("0001-01-01Z", "9999-01-01Z"):
            score = await stand.admin.fetchval(f"select engagement_score_at(1, 2, 3, 4, '{when}'::timestamptz)")
            assert 0 <= score <= 100
        assert await stand.admin.fetchval("select engagement_score_at(null, null, null, null, now())") == 20

    play(scene)


def test_a_score_explains_itself(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await stand.people(1)
        mails = await stand.messages([ada] * 6)
        chats = await stand.messages([ada] * 2, "telegram")
        for day, mail in enumerate(mails):
            await room.emails_observed(
                EmailsObserved(
                    items=[
                        observed("delivered", mail, at(days=day)),
                        observed("clicked", mail, at(days=day, seconds=3600), link="a", signal="human"),
                    ]
                )
            )
        await room.telegrams_settled(TelegramsSettled(claim_id=ada, items=[accepted(one, at(days=9)) for one in chats]))
        await room.record_events(
            RecordEvents(items=[did("attended", ada, at(days=9, seconds=5)), did("missed", ada, at())])
        )
        scores = await stand.scores(ada)
        assert set(scores) == set(formula.KINDS)
        last = at(days=9, seconds=5)
        assert {row["calculated_at"] for row in scores.values()} == {last}
        assert {row["valid_until"] for row in scores.values()} == {last + timedelta(days=1)}
        now, terms = last.timestamp(), [formula.weight(at(days=day).timestamp()) for day in range(6)]
        n, r = sum(terms), 0.6 * sum(terms)
        assert float(scores["email"]["score"]) == pytest.approx(formula.score(r, n, r, n, now), abs=0.006)
        told = formula.weight(at(days=9).timestamp())
        both = formula.overall((r, n, False), (0, 2 * told, False))
        assert float(scores["overall"]["score"]) == pytest.approx(formula.score(*both, *both, now), abs=0.006)
        factors = scores["email"]["factors"]
        assert factors["messages"] == 6 and factors["blocked"] is False and factors["mean"] == 0.2
        assert factors["n"] == pytest.approx(n / formula.weight(now), abs=1e-4)
        assert [one["credit"] for one in factors["last"]] == [0.6] * 5
        assert datetime.fromisoformat(factors["last"][0]["at"]) == at(days=5, seconds=3600)
        assert scores["overall"]["factors"]["messages"] == 8
        assert scores["overall"]["factors"]["parts"]["email"]["score"] == float(scores["email"]["score"])
        assert [one["kind"] for one in scores["attendance"]["factors"]["last"]] == ["attended", "missed"]
        assert scores["commitment"]["factors"] == {
            "r": 0, "n": 0, "mean": 0.2, "blocked": False, "events": 0, "last": [],
        }  # fmt: skip

    play(scene)


def test_a_refusal_or_a_dead_address_is_a_state_that_ends_with_its_reason(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        (ada,) = await stand.people(1)
        (mail,) = await stand.messages([ada])
        await room.emails_observed(EmailsObserved(items=[observed("delivered", mail, at())]))

        async def blocked() -> dict[str, bool]:
            rows = await stand.admin.fetch("select kind, blocked, r, n from engagement_states where user_id = $1", ada)
            return {row["kind"]: row["blocked"] for row in rows}

        async def contact(channel: str, change: str) -> None:
            await stand.admin.execute(f"update gateway.contacts set {change} where channel = $1", channel)

        assert not any((await blocked()).values())
        before = (await stand.scores(ada))["overall"]["score"]
        await contact("email", "consent = 'refused'")
        assert await blocked() == {
            "overall": False, "email": True, "telegram": False, "attendance": False, "commitment": False,
        }  # fmt: skip
        scores = await stand.scores(ada)
        assert scores["email"]["score"] == 0 and scores["overall"]["score"] == before
        await contact("telegram", "state = 'blocked'")
        assert (await blocked())["overall"] and (await stand.scores(ada))["overall"]["score"] == 0
        await contact("email", "consent = 'granted'")
        assert not (await blocked())["overall"] and (await stand.scores(ada))["email"]["score"] > 0

    play(scene)


def test_who_may_read(play) -> None:
    async def scene(stand: Stand) -> None:
        asks = [
            *((role, name, True) for role in ("nurture_gateway", "nurture_controller") for name in
              ("engagement_states", "engagement_means", "engagement_details")),
            ("nurture_email", "engagement_details", False),
            ("nurture_controller", "engagement_events", False),
        ]  # fmt: skip
        for role, name, may in asks:
            assert await stand.admin.fetchval("select has_table_privilege($1, $2, 'select')", role, name) is may
        signature = "engagement_score_at(float8, float8, float8, float8, timestamptz)"
        for role, may in (("nurture_controller", True), ("nurture_gateway", True), ("nurture_email", False)):
            assert (
                await stand.admin.fetchval("select has_function_privilege($1, $2, 'execute')", role, signature) is may
            )
        assert {row["kind"] for row in await stand.admin.fetch("select kind from engagement_means")} == set(
            formula.KINDS
        )

    play(scene)


def test_who_certainly_answered_is_who_did_what_no_machine_does(play) -> None:
    """`answered_messages` beside what each answer alone is worth."""

    async def scene(stand: Stand) -> None:
        room = await stand.room()
        told = [
            ("opened", "human"), ("clicked", "machine"), ("clicked", "unknown"), ("clicked", "human"), ("pressed", "human"),
            ("replied", "human"), (None, None),
        ]  # fmt: skip
        people = await stand.people(len(told))
        mails = await stand.messages(people)
        await room.emails_observed(EmailsObserved(items=[observed("delivered", mail, at()) for mail in mails]))
        answers = [
            observed(kind, mail, at(60), signal=signal)
            for mail, (kind, signal) in zip(mails, told, strict=True) if kind
        ]  # fmt: skip
        await room.emails_observed(EmailsObserved(items=answers))
        rows = await stand.admin.fetch("select delivery_id from answered_messages")
        answered = {mails.index(row["delivery_id"]) for row in rows}
        assert {told[n] for n in answered} == {("clicked", "human"), ("pressed", "human"), ("replied", "human")}
        assert await stand.admin.fetchval(
            "select has_table_privilege('nurture_gateway', 'answered_messages', 'select')"
        )

    play(scene)
