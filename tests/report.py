"""One page from a JUnit file: each category with its tests, how they ended and how long they took.

`python -m tests.report FOLDER` reads FOLDER/junit.xml and writes FOLDER/index.html.
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment

from tests.categories import CATEGORIES


class Case(NamedTuple):
    """One test that ran. `ended` is passed, failed, error or skipped; `said` why."""

    name: str
    seconds: float
    ended: str
    said: str
    categories: list[str]


class Group(NamedTuple):
    """Tests under one title; `counts` by how they ended."""

    title: str
    cases: list[Case]
    counts: dict[str, int]
    seconds: float


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Nurture: tests</title>
<style>
:root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
summary { cursor: pointer; padding: .4rem 0; display: grid; grid-template-columns: 1fr 14rem 5rem; gap: 1rem }
table { border-collapse: collapse; width: 100%; font-size: 13px } td { padding: .15rem .5rem; vertical-align: top }
td:first-child { overflow-wrap: anywhere } td:last-child, summary span:last-child { text-align: right; font-variant-numeric: tabular-nums }
details { border-top: 1px solid #8884 } .failed, .error { color: #c22 } .skipped { opacity: .6 } pre { white-space: pre-wrap }
</style></head><body><h1>Tests by category</h1>
{% for group in groups %}<details{% if group.counts.failed or group.counts.error %} open{% endif %}>
<summary><b>{{ group.title }}</b><span>{% for end, count in group.counts.items() %}<span class="{{ end }}">{{ count }} {{ end }}</span> {% endfor %}</span>
<span>{{ "%.1f"|format(group.seconds) }} s</span></summary><table>
{% for case in group.cases %}<tr class="{{ case.ended }}"><td>{{ case.name }}{% if case.said %}<pre>{{ case.said }}</pre>{% endif %}</td>
<td>{{ case.ended }}</td><td>{{ "%.2f"|format(case.seconds) }} s</td></tr>
{% endfor %}</table></details>
{% endfor %}</body></html>
"""


def read(file: Path) -> list[Case]:
    """Every test of a JUnit file."""
    cases = []
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        ended, said = "passed", ""
        for kind in ("failure", "error", "skipped"):
            found = case.find(kind)
            if found is not None:
                ended, said = {"failure": "failed"}.get(kind, kind), found.get("message") or ""
        categories = [p.get("value", "") for p in case.iter("property") if p.get("name") == "category"]
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        cases.append(Case(name, float(case.get("time", 0)), ended, said, categories))
    return cases


def grouped(cases: list[Case]) -> list[Group]:
    """By category in their order, then those in none; the slowest first."""
    titled = [
        (category.title, [case for case in cases if name in case.categories]) for name, category in CATEGORIES.items()
    ]
    groups = []
    for title, members in [*titled, ("About none of these", [case for case in cases if not case.categories])]:
        counts: dict[str, int] = defaultdict(int)
        for case in members:
            counts[case.ended] += 1
        slowest = sorted(members, key=lambda case: -case.seconds)
        groups.append(Group(title, slowest, dict(counts), sum(case.seconds for case in members)))
    return groups


def page(cases: list[Case]) -> str:
    """The whole page; everything from outside is escaped."""
    return Environment(autoescape=True).from_string(PAGE).render(groups=grouped(cases))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "index.html").write_text(page(read(folder / "junit.xml")))
    print(f"{folder / 'index.html'}")
