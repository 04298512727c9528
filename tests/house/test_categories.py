"""The groups of tests: none is empty or names what is not there, and the report page tells how each ended."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import report
from tests.categories import CATEGORIES

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", CATEGORIES)
def test_what_a_category_names_is_there(name: str) -> None:
    for where in CATEGORIES[name].where:
        file, _, test = where.partition("::")
        found = [path for path in TESTS.rglob("*.py") if path.relative_to(TESTS).as_posix().startswith(file)]
        assert found, where
        assert not test or f"def {test}" in found[0].read_text(), where


def test_a_category_can_be_asked_for(tmp_path: Path) -> None:
    """Its tests, without those that break things, and a report with them."""
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "delivery_fallback", "--categories",
         "--junit-xml", str(tmp_path / "junit.xml"), "tests/controller/test_choosing.py", "tests/faults/test_machinery.py"],
        cwd=TESTS.parent, text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Delivery Fallback          delivery_fallback" in told.stdout
    cases = report.read(tmp_path / "junit.xml")
    assert "tests.controller.test_choosing::test_a_bounce_goes_to_telegram_and_a_block_to_email" in {
        c.name for c in cases
    }
    assert all("delivery_fallback" in case.categories and case.ended == "passed" for case in cases)


def test_the_page_says_how_each_ended() -> None:
    cases = [
        report.Case("a::fine", 1.5, "passed", "", ["email_delivery", "error_handling"]),
        report.Case("a::broken", 0.5, "failed", "expected <b>", ["email_delivery"]),
        report.Case("b::other", 0.1, "skipped", "no tool", []),
    ]
    groups = {group.title: group for group in report.grouped(cases)}
    assert list(groups) == [*(category.title for category in CATEGORIES.values()), "About none of these"]
    assert groups["Email Delivery"].counts == {"passed": 1, "failed": 1} and groups["Email Delivery"].seconds == 2.0
    assert groups["Error Handling"].counts == {"passed": 1} and groups["About none of these"].counts == {"skipped": 1}
    page = report.page(cases)
    assert "expected &lt;b&gt;" in page and "<b>Email Delivery</b>" in page
