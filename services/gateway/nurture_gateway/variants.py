"""Which words of a step do better: counts from the record, what may be concluded from them, and that in a sentence."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from msgspec import Struct
from nurture_chassis.database import Rows

from nurture_gateway.evidence import clearly_behind, evidence, fewest, interval, is_clear
from nurture_gateway.problems import Problem

Conclusion = Literal["too early", "no difference shown", "differs"]
_CHANCE = "chance does that in fewer than 1 of 20 tests, however often you look"


class Arm(Struct, kw_only=True):
    """A variant. `share` is its part of all people by its weight. People were sent the step in these words, each counts once;
    `conversions` are those who clicked, pressed a button, answered, or reached a goal by it, machines left out. `rate` is
    their part of the people (null without any); `low` and `high` are its 95 % interval by Wilson, for information. `leavers`
    complained, or unsubscribed by this message, or both."""

    name: str
    weight: int
    share: float
    people: int = 0
    delivered: int = 0
    conversions: int = 0
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    complaints: int = 0
    unsubscribes: int = 0
    leavers: int = 0


class Comparison(Struct, kw_only=True):
    """A step's variants against each other, over those of the sequence's `versions` in which they have the same words and
    weights. `evidence` is a Bayes factor for a difference: a difference is called from 20 on (`differs`, with the `best`),
    which chance alone reaches in at most 1 of 20 tests, at whatever times one looks. `too early`: nothing could be told from
    so few conversions. Of more than two variants it says that they are not all equal; `behind` are those that are clearly
    worse than the best, which is the winner when all others are behind. The same test says whether people fell to the
    variants as the weights say (`shares_ok`; nothing is called if not), and whether those who left do (`leaving_ok`). `words`
    say it for people."""

    sequence_type: str
    step: int
    name: str | None
    versions: list[int]
    arms: list[Arm]
    evidence: float
    verdict: Conclusion
    best: str | None
    behind: list[str]
    shares_ok: bool
    leaving_ok: bool
    words: str


class Variants(Struct, kw_only=True):
    """Every step of a version that has variants."""

    sequence_type: str
    version: int
    steps: list[Comparison]


class Experiment(NamedTuple):
    """A step's variants, with their weights, and the versions in which they are the same; `alone` if no other version has any."""

    sequence_type: str
    step: int
    name: str | None
    weights: dict[str, int]
    versions: list[int]
    alone: bool


async def variants(rows: Rows, sequence_type: str, version: int | None) -> Variants:
    """How the variants of a version do, the latest if none is named. A statement, and one for each. Raises Problem 404."""
    steps = await rows.fetch("steps_with_variants", sequence_type)
    asked = next((row["version"] for row in steps if version in (None, row["version"])), None)
    if asked is None:
        which = f"version {version} of {sequence_type!r}" if steps else f"sequence {sequence_type!r}"
        raise Problem("not_found", f"There is no {which}.", hint="GET /admin/api/sequences lists what there is.")
    told = [await _compared(rows, one) for one in experiments(steps, asked)]
    return Variants(sequence_type=sequence_type, version=asked, steps=told)


async def every_comparison(rows: Rows) -> list[Comparison]:
    """Those of the latest version of every sequence. A statement, and one for each."""
    return [await _compared(rows, one) for one in experiments(await rows.fetch("steps_with_variants", None))]


def experiments(steps: Iterable[Any], version: int | None = None) -> list[Experiment]:
    """Those of a version, or of the latest of each type, from rows that come newest first. What a step is called and says
    decides who gets which variant, and what is in it: where none of that changed (`words`), a new version goes on with the
    same test."""
    latest: dict[str, int] = {}
    tested: dict[tuple[str, int], dict[int, str]] = {}
    for row in steps:
        latest.setdefault(row["type"], row["version"])
        if row["step"]:
            tested.setdefault((row["type"], row["step"]), {})[row["version"]] = row["words"]
    found: list[Experiment] = []
    for row in steps:
        if row["step"] and row["version"] == (version or latest[row["type"]]):
            of = tested[row["type"], row["step"]]
            same = sorted(number for number, words in of.items() if words == row["words"])
            weights = {arm["name"]: arm.get("weight", 1) for arm in row["variants"]}
            found.append(Experiment(row["type"], row["step"], row["name"], weights, same, len(same) == len(of)))
    return found


async def _compared(rows: Rows, one: Experiment) -> Comparison:
    # To which version a message belongs is asked only where that says anything: it costs more than all the rest.
    versions = None if one.alone else one.versions
    found = await rows.fetch("variant_counts", one.sequence_type, one.step, versions)
    return compared(one, {row["variant"]: row for row in found})


def compared(experiment: Experiment, counts: Mapping[str, Any]) -> Comparison:
    """What these counts by variant say. Pure."""
    total = sum(experiment.weights.values())
    shares = [weight / total for weight in experiment.weights.values()]
    arms = [
        _arm(name, weight, share, counts.get(name))
        for (name, weight), share in zip(experiment.weights.items(), shares, strict=True)
    ]
    answers = [arm.conversions for arm in arms]
    shares_ok = not is_clear([arm.people for arm in arms], shares)
    leaving_ok = not is_clear([arm.leavers for arm in arms], shares)
    needed = fewest(shares)
    verdict: Conclusion = "too early" if sum(answers) < needed else "no difference shown"
    if shares_ok and is_clear(answers, shares):
        verdict = "differs"
    best, behind = None, list[Arm]()
    if verdict == "differs":
        best = max(arms, key=lambda arm: arm.rate or 0.0)
        behind = [arms[place] for place in clearly_behind(answers, shares, arms.index(best))]
    return Comparison(
        sequence_type=experiment.sequence_type,
        step=experiment.step,
        name=experiment.name,
        versions=experiment.versions,
        arms=arms,
        evidence=float(f"{evidence(answers, shares):.4g}"),
        verdict=verdict,
        best=best.name if best else None,
        behind=[arm.name for arm in behind],
        shares_ok=shares_ok,
        leaving_ok=leaving_ok,
        words=" ".join(_words(arms, best, behind, needed, shares_ok, leaving_ok)),
    )


def _arm(name: str, weight: int, share: float, row: Any) -> Arm:
    arm = Arm(name=name, weight=weight, share=round(share, 4))
    if row is None:
        return arm
    for field in ("people", "delivered", "conversions", "complaints", "unsubscribes", "leavers"):
        setattr(arm, field, row[field])
    arm.rate = round(arm.conversions / arm.people, 4)
    arm.low, arm.high = (round(end, 4) for end in interval(arm.conversions, arm.people))
    return arm


def _words(
    arms: list[Arm], best: Arm | None, behind: list[Arm], needed: int, shares_ok: bool, leaving_ok: bool
) -> Iterable[str]:
    people, answers = sum(arm.people for arm in arms), sum(arm.conversions for arm in arms)
    if not shares_ok:
        meant = ", ".join(
            f"{arm.name} {_percent(arm.people / people)} instead of {_percent(arm.share)}" for arm in arms
        )
        yield f"People do not fall to the variants as their weights say ({meant}); {_CHANCE}."
        yield "Find out why before you compare: messages of one variant may not leave, or its words cannot be made."
    elif best:
        yield _leader(arms, best, behind)
        yield "So clear a difference appears by chance in fewer than 1 of 20 tests, however often you look."
    elif not people:
        yield "Nobody has been sent this step yet."
    elif answers < needed:
        yield f"Too early: {answers} {'person has' if answers == 1 else 'people have'} responded, and below {needed} no"
        yield "difference can be told from chance."
    else:
        yield f"No difference shown by the {answers} people who responded. There may be one that takes more of them to show."
    if shares_ok and not leaving_ok:
        gone = ", ".join(f"{arm.name} {arm.leavers} of {arm.people}" for arm in arms)
        yield f"But complaints and unsubscribes differ ({gone}); {_CHANCE}."


def _leader(arms: list[Arm], best: Arm, behind: list[Arm]) -> str:
    others = [arm for arm in arms if arm is not best]
    near = [arm for arm in others if arm not in behind]
    rate = _percent(best.rate)
    if len(arms) == 2:
        return f"{best.name} does better: {rate} against {_percent(others[0].rate)}."
    if not near:
        return f"{best.name} does best: {rate} against {_rates(others)}."
    if not behind:
        lead = f"{best.name} leads with {rate} against {_rates(others)}"
        return f"They are not equally good. {lead}, but which is best cannot be told yet."
    return f"{best.name} does better than {_rates(behind)}: {rate}. Whether better than {_rates(near)} too cannot be told yet."


def _rates(arms: list[Arm]) -> str:
    return " and ".join(f"{arm.name} ({_percent(arm.rate)})" for arm in arms)


def _percent(part: float | None) -> str:
    return f"{100 * (part or 0.0):.1f} %"
