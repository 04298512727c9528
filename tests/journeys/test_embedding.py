"""The client inside another program, on a running system: the page's own example, and every method once."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from nurture_client import AsyncNurture, Cancelled, Enrolled, Event, Nurture, Refused

from tests.journeys.system import System, eventually

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/embed.md"


def told(system: System) -> dict[str, str]:
    status = system.status()
    return {"url": status["gateway"], "api_key": status["api_key"]}


def test_the_pages_example_runs_as_written(system: System) -> None:
    example = next(
        code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "with Nurture()" in code
    )
    who = f"customer-{uuid4().hex[:8]}"
    address = told(system)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", example.replace("customer-17", who).replace("ada+open@", f"{who}@")],
        env={"NURTURE_URL": address["url"], "NURTURE_API_KEY": address["api_key"]},
        text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("first step by email at 20")


def test_a_person_from_registration_to_cancel(system: System) -> None:
    who, key = f"ada-{uuid4().hex[:8]}", str(uuid4())
    with Nurture(**told(system)) as nurture:
        made = nurture.register("Ada", external_id=who, email=f"{who}+open@example.test", attributes={"plan": "free"})
        assert nurture.change(who, timezone="Europe/Berlin", locale=None).timezone == "Europe/Berlin"
        assert nurture.person(made.id).attributes == {"plan": "free"}
        first = nurture.trigger(who, "onboarding", key=key)
        assert isinstance(first, Enrolled) and first.channel == "email"
        assert nurture.trigger(who, "onboarding", key=key) == first
        with pytest.raises(Refused) as again:
            nurture.trigger(who, "onboarding")
        assert again.value.status == 409
        with pytest.raises(Refused) as nobody:
            nurture.person("nobody-else")
        assert nobody.value.code == "person_not_found"
        assert nurture.event(who, "attended", event_id=who).status == "accepted"
        eventually(
            lambda: nurture.event(who, "attended", event_id=who).status == "repeated", what="the event in its room"
        )
        results = nurture.events(
            [Event(user=who, event="attended", event_id=who), Event(user="nobody", event="attended")]
        )
        assert [one.status for one in results] == ["repeated", "rejected"]
        eventually(lambda: nurture.why(who)["deliveries"], what="a decision")
        ended = nurture.cancel(who, "onboarding")
        assert isinstance(ended, Cancelled) and ended.cancelled == 1
        many = nurture.trigger_many([who, "nobody"], "re_engagement", confirm=1)
        done = eventually(lambda: (now := nurture.command(many.command_id)).state == "settled" and now, what="its end")
        assert (done.started, done.refused_count) == (1, 1)


def test_a_bot_hands_over_its_updates(system: System) -> None:
    who, chat = f"bo-{uuid4().hex[:8]}", uuid4().int % 10**9 * 10 + 1

    async def bot() -> None:
        async with AsyncNurture(**told(system)) as nurture:
            await nurture.register("Bo", external_id=who, email=f"{who}@example.test")
            link = await nurture.telegram_link(who)
            update = {
                "update_id": chat,
                "message": {
                    "message_id": 1, "date": 1_767_603_600, "chat": {"id": chat, "type": "private"},
                    "from": {"id": chat, "is_bot": False, "first_name": "Bo"},
                    "text": f"/start {link.url.split('start=')[1]}",
                },
            }  # fmt: skip
            assert (await nurture.telegram_update(update)).accepted == 1

    asyncio.run(bot())
    with Nurture(**told(system)) as nurture:
        eventually(lambda: nurture.person(who).telegram_chat_id == str(chat), what="the chat")
