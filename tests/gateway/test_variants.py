"""How variants do, over REST and as a page: counts are the rows', each person once; conclusions are those of the evidence."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from gateway_stand import Gateway
from nurture_gateway.variants import Experiment, compared, experiments
from test_health_and_pages import problem

PATH = "/admin/api/nurture/analytics/variants"
ARMS = [{"name": "a"}, {"name": "b", "weight": 3}]


class Sequence:
    """A published sequence, and messages of it as the controller and scoring would have left them."""

    def __init__(self, gateway: Gateway) -> None:
        self.type = f"split-{uuid4().hex[:8]}"
        self._gateway = gateway
        self._sql = gateway.servers.sql
        self._versions: dict[int, UUID] = {}

    def publish(self, *steps: dict[str, Any]) -> int:
        version = len(self._versions) + 1
        self._versions[version] = uuid4()
        self._sql(
            "insert into controller.sequences values ($1, $2, $3, $4, 'x', now())",
            self._versions[version], self.type, version, {"steps": list(steps)},
        )  # fmt: skip
        return version

    def sent(
        self,
        person: UUID,
        variant: str | None,
        credit: float | None = None,
        enrolment: UUID | None = None,
        version: int = 1,
        **columns: Any,
    ) -> UUID:
        """A message that was sent; `credit` is what scoring found that its answers are worth."""
        delivery, values = (
            uuid4(),
            {"step": 1, "channel": "email", "sent_at": "now()", "delivered_at": "now()"} | columns,
        )
        if enrolment is None:
            enrolment = self.enrolment(person, version)
        told = {name: value for name, value in values.items() if value is not None}
        self._sql(
            "insert into controller.deliveries (id, enrolment_id, user_id, sequence_type, variant, scheduled_at, created_at,"
            f" {', '.join(told)}) values ($1, $2, $3, $4, $5, now(), now(), {', '.join(map(literal, told.values()))})",
            delivery, enrolment, person, self.type, variant,
        )  # fmt: skip
        if credit is not None:
            self._sql(
                "insert into scoring.message_credits (delivery_id, user_id, channel, credit) values ($1, $2, $3, $4)",
                delivery, person, values["channel"], credit,
            )  # fmt: skip
        return delivery

    def enrolment(self, person: UUID, version: int = 1) -> UUID:
        enrolment = uuid4()
        self._sql(
            "insert into controller.enrolments (id, command_id, user_id, sequence_id, sequence_type, step, state, started_at)"
            " values ($1, $2, $3, $4, $5, 2, 'completed', now())",
            enrolment, uuid4(), person, self._versions[version], self.type,
        )  # fmt: skip
        return enrolment

    def unsubscribed(self, delivery: UUID) -> None:
        self._sql(
            "insert into controller.delivery_events (event_id, delivery_id, kind, at) values ($1, $2, 'unsubscribed', now())",
            uuid4(), delivery,
        )  # fmt: skip

    def told(self, **params: Any) -> dict[str, Any]:
        answer = self._gateway.http.get(PATH, params={"sequence_type": self.type} | params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def counts(self, **params: Any) -> dict[str, tuple[int, ...]]:
        """Of the only step with variants: people, delivered, conversions, complaints, unsubscribes."""
        (step,) = self.told(**params)["steps"]
        fields = ("people", "delivered", "conversions", "complaints", "unsubscribes")
        return {arm["name"]: tuple(arm[field] for field in fields) for arm in step["arms"]}


def literal(value: Any) -> str:
    return value if value == "now()" else f"'{value}'"


@pytest.fixture
def split(gateway: Gateway) -> Sequence:
    made = Sequence(gateway)
    made.publish({"name": "hello", "body": "Hi", "variants": ARMS}, {"body": "Bye"})
    return made


def test_before_anybody_was_sent_it_there_is_nothing_to_tell(split: Sequence) -> None:
    told = split.told()
    assert (told["sequence_type"], told["version"]) == (split.type, 1)
    (step,) = told["steps"]
    assert (step["step"], step["name"], step["versions"]) == (1, "hello", [1])
    assert (step["evidence"], step["verdict"], step["best"]) == (1.0, "too early", None)
    assert step["shares_ok"] and step["leaving_ok"] and step["words"] == "Nobody has been sent this step yet."
    assert [(arm["name"], arm["weight"], arm["share"], arm["rate"]) for arm in step["arms"]] == [
        ("a", 1, 0.25, None), ("b", 3, 0.75, None),
    ]  # fmt: skip


def test_only_what_a_person_did_is_a_conversion(split: Sequence) -> None:
    # No word of scoring, a machine's click, an open, a click of nobody knows whom; a click, a button or goal.
    for credit in (None, 0.0, 0.12, 0.3, 0.6, 1.0):
        split.sent(uuid4(), "b", credit)
    split.sent(uuid4(), "a", 0.6)
    assert split.counts() == {"a": (1, 1, 1, 0, 0), "b": (6, 6, 2, 0, 0)}
    (step,) = split.told()["steps"]
    rate = {arm["name"]: (arm["rate"], arm["low"], arm["high"]) for arm in step["arms"]}
    assert rate["b"] == (0.3333, 0.0968, 0.7)


def test_a_person_counts_once_whatever_was_sent_to_them_again(split: Sequence) -> None:
    ada, bo, cy, di = (uuid4() for _ in range(4))
    # Bounced, then by the other channel; answered there.
    enrolment = split.enrolment(ada)
    bounced = split.sent(ada, "a", 0.0, enrolment, delivered_at=None, bounced_at="now()")
    split.sent(ada, "a", 1.0, enrolment, channel="telegram", fallback_of=bounced)
    # Refused by the provider, so never sent; then by the other channel.
    enrolment = split.enrolment(bo)
    refused = split.sent(bo, "b", None, enrolment, sent_at=None, delivered_at=None, failed_at="now()")
    split.sent(bo, "b", 0.0, enrolment, channel="telegram", fallback_of=refused)
    # Once more, by an operator; answered twice.
    enrolment = split.enrolment(cy)
    split.sent(cy, "b", 0.6, enrolment)
    split.sent(cy, "b", 0.6, enrolment, round=1)
    # In the sequence for a second time.
    split.sent(di, "b", 0.0)
    split.sent(di, "b", 0.6)
    # Not sent: not in the test.
    split.sent(uuid4(), "a", None, sent_at=None, delivered_at=None, suppressed_at="now()")
    assert split.counts() == {"a": (1, 1, 1, 0, 0), "b": (3, 3, 2, 0, 0)}


def test_complaints_and_unsubscribes_are_told_by_variant(split: Sequence) -> None:
    split.sent(uuid4(), "a", complained_at="now()")
    left = split.sent(uuid4(), "b")
    split.unsubscribed(left)
    split.sent(uuid4(), "b")
    split.unsubscribed(split.sent(uuid4(), "b", complained_at="now()"))
    assert split.counts() == {"a": (1, 1, 0, 1, 0), "b": (3, 3, 0, 1, 2)}
    assert [arm["leavers"] for arm in split.told()["steps"][0]["arms"]] == [1, 2]


def test_a_version_that_leaves_the_variants_as_they_are_goes_on_with_the_test(split: Sequence) -> None:
    same = split.publish({"name": "hello", "body": "Hi", "variants": ARMS, "delay": "2d"}, {"body": "Farewell"})
    ada = uuid4()
    split.sent(ada, "a", 0.0, version=1)
    split.sent(ada, "a", 0.6, version=same)
    split.sent(uuid4(), "b", 0.0, version=same)
    split.sent(uuid4(), None, 0.6, version=same, step=2)
    both = {"a": (1, 1, 1, 0, 0), "b": (1, 1, 0, 0, 0)}
    assert split.counts() == split.counts(version=1) == both and split.told()["steps"][0]["versions"] == [1, 2]
    changed = split.publish({"name": "hello", "body": "Hi", "variants": [{"name": "a"}, {"name": "b"}]})
    split.sent(uuid4(), "a", 1.0, version=changed)
    assert split.counts() == {"a": (1, 1, 1, 0, 0), "b": (0, 0, 0, 0, 0)}
    assert split.counts(version=2) == both
    assert [split.told(version=n)["steps"][0]["versions"] for n in (1, 2, 3)] == [[1, 2], [1, 2], [3]]


def test_a_sequence_without_variants_has_none_to_tell_of_and_one_that_is_not_there_is_not_found(
    gateway: Gateway, split: Sequence
) -> None:
    split.publish({"body": "Only this."})
    assert split.told() == {"sequence_type": split.type, "version": 2, "steps": []}
    assert len(split.told(version=1)["steps"]) == 1
    told = problem(gateway.http.get(PATH, params={"sequence_type": "nothing"}), 404, "not_found")
    assert "'nothing'" in told["detail"]
    told = problem(gateway.http.get(PATH, params={"sequence_type": split.type, "version": 7}), 404, "not_found")
    assert "version 7" in told["detail"]
    problem(gateway.http.get(PATH), 400, "malformed_request")
    problem(gateway.http.get(PATH, params={"sequence_type": split.type, "version": 0}), 400, "malformed_request")


def test_the_latest_version_of_each_type_is_compared_on_the_page() -> None:
    def row(kind: str, version: int, step: int | None, words: str = "w") -> dict[str, Any]:
        return {"type": kind, "version": version, "step": step, "name": None, "variants": ARMS, "words": words}

    rows = [
        row("x", 2, None),
        row("x", 1, 1),
        row("y", 3, 2, "new"),
        row("y", 2, 2),
        row("y", 1, 2, "new"),
        row("y", 1, 4),
    ]
    assert experiments(rows) == [Experiment("y", 2, None, {"a": 1, "b": 3}, [1, 3], alone=False)]
    assert experiments(rows[:2], 1) == [Experiment("x", 1, None, {"a": 1, "b": 3}, [1], alone=True)]


def concluded(weights: dict[str, int], **counts: tuple[int, int]) -> Any:
    """What is concluded from people and conversions; of those people, as many left as a third number says."""
    rows = {
        name: {
            "people": people,
            "delivered": people,
            "conversions": some,
            "complaints": 0,
            "unsubscribes": 0,
            "leavers": (*left, 0)[0],
        }
        for name, (people, some, *left) in counts.items()
    }
    return compared(Experiment("s", 1, None, weights, [1], alone=True), rows)


EVEN = {"A": 1, "B": 1}


def test_a_clear_difference_is_called_in_a_plain_sentence() -> None:
    told = concluded(EVEN, A=(10_000, 600), B=(10_050, 814))
    assert (told.verdict, told.best, told.shares_ok) == ("differs", "B", True) and told.evidence > 1000
    assert told.words == (
        "B does better: 8.1 % against 6.0 %. So clear a difference appears by chance in fewer than 1 of 20 tests, "
        "however often you look."
    )
    told = concluded({"A": 2, "B": 1, "C": 1}, A=(10_000, 600), B=(5_000, 407), C=(5_000, 295))
    assert (told.verdict, told.best) == ("differs", "B")
    assert told.behind == ["A", "C"]
    assert told.words.startswith("B does best: 8.1 % against A (6.0 %) and C (5.9 %).")


def test_of_three_variants_those_are_named_that_are_behind_the_one_in_front() -> None:
    three = {"A": 1, "B": 1, "C": 1}
    told = concluded(three, A=(10_000, 600), B=(10_000, 820), C=(10_000, 790))
    assert (told.verdict, told.best, told.behind) == ("differs", "B", ["A"])
    assert told.words.startswith(
        "B does better than A (6.0 %): 8.2 %. Whether better than C (7.9 %) too cannot be told yet."
    )
    told = concluded(three, A=(10_000, 690), B=(10_000, 775), C=(10_000, 620))
    assert (told.verdict, told.best, told.behind) == ("differs", "B", ["C"])
    told = concluded(three, A=(10_000, 640), B=(10_000, 760), C=(10_000, 640))
    assert (told.verdict, told.best, told.behind) == ("differs", "B", [])
    assert told.words.startswith(
        "They are not equally good. B leads with 7.6 % against A (6.4 %) and C (6.4 %), but which is best cannot be told yet."
    )


def test_a_small_difference_is_none_yet_and_few_answers_are_too_early() -> None:
    told = concluded(EVEN, A=(10_000, 600), B=(10_050, 620))
    assert (told.verdict, told.best) == ("no difference shown", None) and told.evidence < 1
    assert told.words.startswith("No difference shown by the 1220 people who responded.")
    told = concluded(EVEN, A=(100, 1), B=(90, 0))
    assert told.verdict == "too early" and told.words.startswith("Too early: 1 person has responded, and below ")


def test_shares_that_are_off_are_told_and_nothing_is_called() -> None:
    told = concluded(EVEN, A=(10_000, 600), B=(8_000, 900))
    assert not told.shares_ok and told.evidence > 1000
    assert (told.verdict, told.best) == ("no difference shown", None)
    assert "A 55.6 % instead of 50.0 %, B 44.4 % instead of 50.0 %" in told.words


def test_a_variant_that_drives_people_away_is_told_of_beside_the_verdict() -> None:
    told = concluded(EVEN, A=(10_000, 600, 5), B=(10_050, 814, 90))
    assert (told.verdict, told.best, told.leaving_ok) == ("differs", "B", False)
    assert "But complaints and unsubscribes differ (A 5 of 10000, B 90 of 10050)" in told.words


def test_the_analytics_page_says_it_in_the_same_words(gateway: Gateway, split: Sequence) -> None:
    browser = gateway.browser()
    assert "Nobody has been sent this step yet." in browser.page("/admin/dashboard/analytics")
    split.sent(uuid4(), "a", 0.6)
    split.sent(uuid4(), "b", 0.0)
    (step,) = split.told()["steps"]
    page = browser.page("/admin/dashboard/analytics")
    section = page.partition(f'id="{split.type}-1"')[2].partition("</section>")[0]
    assert step["words"] in section and ">too early</span>" in section and section.count('class="span') == 2
    for arm in step["arms"]:
        assert f"{100 * arm['low']:.1f} % to {100 * arm['high']:.1f} %" in section
