"""docs/operate.md has a section for each alert, each problem of readiness and each reason of a dead letter, and none besides."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operate.md").read_text()
CHASSIS = ROOT / "services/chassis/nurture_chassis"
TELLING = {"problems", "problem", "troubles", "why_not_ready", "_closed", "_ill"}
"""Functions of the chassis that say why a service is not ready."""

AWAITED = {"self._awaited": "starting: ", "self.awaited": "starting: waiting for "}
"""What a start waits for, and the words before it."""


def sections(chapter: str) -> list[str]:
    """The headings of one chapter, as they are read."""
    text = PAGE.split(f"\n## {chapter}\n", 1)[1].split("\n## ", 1)[0]
    return [heading.replace("`", "") for heading in re.findall(r"^### (.+)$", text, re.MULTILINE)]


def anchor(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def wording(node: ast.AST) -> str | None:
    """A text in the code, with `…` for what differs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        return text.replace("… …", "…")
    return None


def texts(node: ast.AST) -> Iterator[str]:
    """Whole sentences of a piece of code: no docstrings, no names, nothing that is compared with."""
    for child in ast.iter_child_nodes(node):
        found = wording(child)
        if found is None:
            yield from texts(child)
        elif (" " in found or isinstance(node, ast.List)) and not isinstance(node, ast.Expr | ast.Compare):
            yield found


def problems() -> set[str]:
    """What `/health/ready` can say."""
    found: set[str] = set()
    for file in CHASSIS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in TELLING:
                found |= set(texts(node))
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in AWAITED:
                head = AWAITED[ast.unparse(node.targets[0])]
                found |= {head + text for text in texts(node)}
    return found


def reasons() -> set[str]:
    """Why a message becomes a dead letter, as far as it is our words."""
    found: set[str] = set()
    for file in (ROOT / "services").rglob("*.py"):
        tree = ast.parse(file.read_text())
        names = {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
        ours = file.name in ("settling.py", "bus.py") or (
            "nurture_chassis.bus" in file.read_text() and "Refused" in names
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and ours and node.exc and ast.unparse(node.exc).startswith("Refused("):
                found |= set(texts(node))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("_bury", "dead_letter_keep")):
                found |= set(texts(node))
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "reason" and file.name == "outbox.py":
                found |= set(texts(node))
            if isinstance(node, ast.Return) and file.name == "letters.py":
                found |= set(texts(node))
    return found


def says(text: str, heading: str) -> bool:
    """Whether the heading is about this text of the code."""
    return re.search(".*".join(map(re.escape, text.strip().split("…"))), heading) is not None


def matched(found: set[str], headings: list[str]) -> None:
    assert found
    assert not [text for text in found if not any(says(text, heading) for heading in headings)]
    assert not [heading for heading in headings if not any(says(text, heading) for text in found)]


def test_each_problem_of_readiness_has_a_section_and_each_section_a_problem() -> None:
    found = problems()
    assert {"NATS is not connected", "starting: waiting for NATS", "handler of … is failing"} <= found
    matched(
        found - {"starting: …"}, [one for one in sections("When a service is not ready") if one != "Ready, and held"]
    )


def test_each_reason_of_a_dead_letter_has_a_section_and_each_section_a_reason() -> None:
    matched(reasons(), [one for one in sections("Dead letters") if one != "A reason of another form"])


def alerts() -> dict[str, str]:
    """Names of alerts, and where each sends its reader."""
    found: dict[str, str] = {}
    for file in (ROOT / "deploy").rglob("*.y*ml"):
        for name, rest in re.findall(r"- alert: (\w+)\n(.*?)(?=- alert: |\Z)", file.read_text(), re.DOTALL):
            link = re.search(r"runbook: *docs/operate\.md#([\w-]+)", rest)
            found[name] = link[1] if link else ""
    return found


def test_each_alert_leads_to_its_section_and_no_section_is_orphaned() -> None:
    known = {anchor(heading) for heading in sections("When an alert fires")}
    rules = alerts()
    assert len(rules) > 20
    assert set(rules.values()) == known


def test_links_within_the_page_lead_somewhere() -> None:
    there = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)}
    assert not [link for link in re.findall(r"\]\(#([^)]+)\)", PAGE) if link not in there]
