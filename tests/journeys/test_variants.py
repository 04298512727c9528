"""Two wordings against each other, on a whole system: who is told of is who was made, each once, and machines are nobody."""

import json
import re
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.journeys.system import System, eventually, running

LETTER = """
format = 1
type = "letter"
title = "Letter"
[[steps]]
name = "ask"
when = "now"
channel = "email"
fallback = "telegram"
subject = "Hello"
body = "[Have a look](https://example.com/look), {{ user_name }}."
[[steps.variants]]
name = "plain"
[[steps.variants]]
name = "question"
subject = "Have you a minute?"
"""
CLICK = re.compile(r"https?://[^\s\"<>/]+(/t/c/[A-Za-z0-9_-]+)")
SCANNER = {"user-agent": "python-requests/2.32 (link scanner)"}


def invited(system: System) -> dict[str, str]:
    """People by what they do, as their names say; answers whose id is whose."""
    made = {}
    for deed, number in (("click", 8), ("open", 5), ("plain", 4), ("bounce", 3), ("complain", 2)):
        for n in range(number):
            name = f"{deed}-{n}"
            label = "" if deed == "plain" else f"+{deed}"
            # Whoever bounces has a chat, whose last digit says that they reply there.
            chat = {"telegram_chat_id": str(10_000 + n * 10 + 3)} if deed == "bounce" else {}
            made[system.person(name, email=f"{name}{label}@example.test", **chat)] = name
    return made


def scanned(system: System, address: str) -> None:
    """Somebody's mail filter follows every link before they do."""
    (message,) = system.messages(to=address)
    for path in CLICK.findall(message["html"]):
        answer = httpx.get(f"{str(system.api.base_url).rstrip('/')}{path}", headers=SCANNER)
        assert answer.status_code == 302


@pytest.mark.long
def test_what_is_told_of_variants_is_what_was_done(data_dir: Path, tmp_path: Path) -> None:
    # A second lasts a minute: nobody reads a message within seven seconds, so what clicks that soon is taken for a machine.
    with running(data_dir, "--speed", "60") as system:
        (tmp_path / "letter.toml").write_text(LETTER)
        system.cli("sequences", "publish", str(tmp_path / "letter.toml"))
        people = invited(system)
        system.trigger_all("letter")
        # Three second messages: by the other channel, after three bounces.
        eventually(lambda: len(replied(system)) == 3, what="replies after fallbacks")
        first = {one["user_id"]: one for one in system.deliveries() if one["channel"] == "email"}
        assert set(first) == set(people)
        by_name = {people[id]: one for id, one in first.items()}
        # One more to somebody, by an operator, and by another start of the sequence.
        again = system.command(f"/admin/api/deliveries/{by_name['click-0']['id']}/resend", {"may_have_arrived": True})
        assert again.status_code == 201, again.text
        assert system.answer({"user_id": "click-1", "sequence_type": "letter"}).status_code == 201
        for n in range(4):
            scanned(system, f"plain-{n}@example.test")
        (message,) = system.messages(to="open-0+open@example.test")
        system.inbox.post(f"/messages/{message['id']}/play", data={"act": "unsubscribe"})

        arm_of = {name: variant(system, one["id"]) for name, one in by_name.items()}
        assert set(arm_of.values()) == {"plain", "question"}

        def number(*deeds: str) -> dict[str, int]:
            counted = Counter(arm for name, arm in arm_of.items() if name.startswith(deeds))
            return {arm: counted[arm] for arm in ("plain", "question")}

        expected = {
            "people": number("click", "open", "plain", "bounce", "complain"),
            "delivered": number("click", "open", "plain", "bounce", "complain"),
            "conversions": number("click", "bounce"),
            "complaints": number("complain"),
            "unsubscribes": number("open-0"),
        }

        def told() -> dict[str, dict[str, int]]:
            (step,) = json.loads(system.cli("variants", "letter", "-o", "json").stdout)["steps"]
            return {field: {arm["name"]: arm[field] for arm in step["arms"]} for field in expected}

        eventually(lambda: told() == expected, within=30, what=f"{expected} (told {told()})")
        hits = "select count(*) from delivery_events where kind = 'clicked' and detail ->> 'signal' = 'machine'"
        eventually(lambda: system.rows(hits)[0][0] >= 4, what="the scanner's clicks in the log")
        assert told() == expected, "they change nothing"
        table = system.cli("variants", "letter").stdout
        assert "letter step 1 ask (version 1): too early" in table and "Too early: 11 people have responded" in table


def replied(system: System) -> list[object]:
    return system.rows("select delivery_id from delivery_events where kind = 'replied'")


def variant(system: System, delivery_id: str) -> str:
    (row,) = system.rows("select variant from message_deliveries where id::text = $1", delivery_id)
    return row["variant"]
