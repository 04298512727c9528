"""Documents that a test can hold to the code."""

import re
import subprocess
import sys
from pathlib import Path

from msgspec.structs import fields
from nurture_contracts.topology import CONSUMERS, MESSAGES
from nurture_controller.linting import publishable
from nurture_controller.sequence import Button, MessageStep, Sequence, Variant

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- messages:begin -->\n", "<!-- messages:end -->"


def table() -> str:
    """The messages as ARCHITECTURE.md shows them, from the contracts."""
    rows = ["| message | subject | heard by |", "|---|---|---|"]
    for message in sorted(MESSAGES, key=lambda message: message.subject):
        heard = ", ".join(f"`{consumer.durable}`" for consumer in CONSUMERS if consumer.message is message)
        rows.append(f"| {message.__name__} | `{message.subject}` | {heard} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_messages_is_that_of_the_code() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    shown = text.split(BEGIN, 1)[1].split(END, 1)[0]
    assert shown == table(), "run `python -m tests.house.test_documents` to write it anew"


def test_every_file_that_the_architecture_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in re.findall(r"`((?:services|contracts|deploy|bench|tests)/[\w/{},.]+)`", text):
        if "{" not in path:
            assert (ROOT / path).exists(), path


def test_every_promise_names_tests_that_exist() -> None:
    rows = [line for line in (ROOT / "docs/guarantees.md").read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == 13
    for row in rows:
        held_by = re.findall(r"`(tests/[\w/.]+)`", row)
        assert held_by, row
        for path in held_by:
            assert (ROOT / path).exists(), path


def test_service_cards_name_what_the_rooms_hear() -> None:
    for room in ("gateway", "controller", "email", "telegram", "scoring"):
        card = (ROOT / f"services/{room}/nurture_{room}/__init__.py").read_text()
        for word in ("hears", "says", "owns", "needs"):
            assert word in card, (room, word)
        wired = (ROOT / f"services/{room}/nurture_{room}/app.py").read_text()
        for durable in re.findall(r'bus\.hear\("([\w-]+)"', wired):
            message = next(consumer.message for consumer in CONSUMERS if consumer.durable == durable)
            assert message.__name__ in card, f"{room} hears {message.__name__}; its card does not say so"


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/generate.py", "--check"], text=True, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_about_sequences_names_every_field_and_its_example_is_one() -> None:
    page = (ROOT / "docs/reference/sequences.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert publishable(example)[1] == []
    for kind in (Sequence, MessageStep, Variant, Button):
        for field in fields(kind):
            assert f"`{field.encode_name}`" in page, f"{kind.__name__}.{field.encode_name}"


if __name__ == "__main__":
    page = ROOT / "ARCHITECTURE.md"
    head, rest = page.read_text().split(BEGIN, 1)
    page.write_text(head + BEGIN + table() + END + rest.split(END, 1)[1])
