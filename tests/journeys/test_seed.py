"""Each line of the document that Nurture grew from works today, by the page that says how."""

import pytest

from tests.journeys import seed_walk
from tests.journeys.system import System


@pytest.mark.long
@pytest.mark.processes("the page is walked beside an instance of this machine")
def test_the_page_is_walked_row_by_row(system: System) -> None:
    found = list(seed_walk.rows(seed_walk.PAGE.read_text()))
    assert len(found) > 80 and sum(bool(row.run) for row in found) > 45
    told = seed_walk.prepare(system.data_dir)
    seen: dict[str, seed_walk.Walked] = {}
    for row in found:
        # The same command twice tells nothing more.
        what = row.run or f"{row.section} {row.seed}"
        seen[what] = seen.get(what) or seed_walk.walk(row, told)
    assert not [str(walked) for walked in seen.values() if not walked.works]
