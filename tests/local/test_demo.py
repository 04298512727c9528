"""What `nurture demo crash` calls well, and how it tells what is not."""

import pytest
from msgspec.structs import replace
from nurture_local import crashing
from nurture_local.commands import demo
from nurture_local.crashing import Kill, Outcome
from nurture_local.terminal import console
from nurture_local.verify.verdict import Bad, Verdict, skipped

WELL = Outcome(
    people=3,
    started=3,
    kills=[Kill("email", 1, 0.5)],
    messages={"email": 2, "telegram": 1},
    verdicts=[Verdict(check=f"C{number}", name="one", of=3) for number in range(1, 14)],
    seconds=9.0,
)


def found(check: str, **more: list[Bad]) -> Outcome:
    return replace(WELL, verdicts=[replace(one, **more) if one.check == check else one for one in WELL.verdicts])


@pytest.mark.parametrize(
    ("outcome", "duplicates", "missing"),
    [
        (found("C1", bad=[Bad("a", "twice")]), 1, 0),
        (found("C2", bad=[Bad("a", "nowhere")]), 0, 1),
        (found("C3", bad=[Bad("a", "never left")]), 0, 1),
        (found("C11", bad=[Bad("a", "other numbers")]), 0, 0),
        (replace(WELL, started=2), 0, 1),
        (replace(WELL, kills=[]), 0, 0),
        (replace(WELL, messages={}), 0, 0),
        (replace(WELL, verdicts=[skipped("C1", "one", "there is no ledger"), *WELL.verdicts[1:]]), 0, 0),
    ],
)
def test_whatever_is_not_well_is_told(outcome: Outcome, duplicates: int, missing: int) -> None:
    assert (outcome.ok, outcome.duplicates, outcome.missing) == (False, duplicates, missing)
    assert "Not kept" in demo.sentence(outcome)
    with console.capture() as shown:
        console.print(demo.table(outcome))
    assert "✗" in shown.get() or demo.findings(outcome) or not outcome.kills


def test_an_unknown_is_listed_and_no_fault() -> None:
    outcome = found("C5", listed=[Bad("a", "telegram: worker_lost; it had arrived")])
    assert outcome.ok and outcome.unknown == [("a", "telegram: worker_lost; it had arrived")]
    assert "1 unknown" in demo.sentence(outcome)


def test_who_sends_is_killed_first_and_everybody_has_a_turn() -> None:
    names = crashing.order(6, seed=3)
    assert set(names[:2]) == {"email", "telegram"} and sorted(names) == sorted({*crashing.FIRST, *crashing.REST})
    assert crashing.order(6, seed=3) == names and len(crashing.order(20, seed=1)) == 20
