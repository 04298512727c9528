"""Scores over time: a row a day and kind, as of the last look, whoever looks."""

from datetime import timedelta

import pytest
from nurture_chassis.clock import Clock
from nurture_contracts.events import EmailsObserved
from nurture_scoring.daily import SECONDS, Daily
from scoring_stand import Stand, at, observed


class _Hands(Clock):
    moment = at(days=2)

    def now(self):
        return self.moment


def test_a_day_is_kept_as_of_its_last_look_and_the_next_begins_a_row(play) -> None:
    async def scene(stand: Stand) -> None:
        room = await stand.room()
        database, clock = room._database, _Hands()
        looks = Daily(database, clock)
        assert await looks.tick() == SECONDS
        assert await stand.admin.fetch("select * from score_days") == []
        people = await stand.people(10)
        mails = await stand.messages(people)
        await room.emails_observed(EmailsObserved(items=[observed("delivered", mail, at()) for mail in mails]))
        await looks.tick()
        (silent,) = await stand.admin.fetch("select * from score_days where score_type = 'email'")
        assert (silent["people"], sum(silent["buckets"])) == (10, 10)
        answers = [observed("clicked", mail, at(seconds=60), link="a", signal="human") for mail in mails[:3]]
        await room.emails_observed(EmailsObserved(items=answers))
        await stand.admin.execute("update gateway.contacts set state = 'bounced' where user_id = $1", people[9])
        clock.moment += timedelta(hours=1)
        await looks.tick()
        day = {row["score_type"]: row for row in await stand.admin.fetch("select * from score_days")}
        assert set(day) == {"email", "overall"} and day["email"]["at"] == clock.moment
        # What each person's own score says at that moment.
        scores = await stand.admin.fetch(
            "select case when s.blocked then 0 else engagement_score_at(s.r, s.n, m.r, m.n, $1) end as score"
            " from engagement_states s join engagement_means m on m.kind = s.kind where s.kind = 'email' order by 1",
            clock.moment,
        )
        values = [float(row["score"]) for row in scores]
        assert values[0] == 0 and len(set(values)) == 3
        assert float(day["email"]["mean"]) == pytest.approx(sum(values) / 10, abs=0.005)
        assert float(day["email"]["median"]) == pytest.approx((values[4] + values[5]) / 2, abs=0.005)
        assert day["email"]["buckets"] == [sum(value // 10 == tenth for value in values) for tenth in range(10)]
        assert day["email"]["mean"] > silent["mean"] or day["email"]["p90"] > silent["p90"]
        # A look whose clock is behind changes nothing; another replica does not look at all.
        assert await Daily(database, _Hands()).tick() == SECONDS
        clock.moment -= timedelta(minutes=30)
        await looks.tick()
        assert day["email"]["at"] == await stand.admin.fetchval("select max(at) from score_days")
        clock.moment = at(days=3)
        await looks.tick()
        days = await stand.admin.fetch("select day, people from score_days where score_type = 'email' order by day")
        assert [row["day"] for row in days] == [at(days=2).date(), at(days=3).date()]

    play(scene)
