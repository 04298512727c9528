"""Faults by chance, and the lines of calls that did not simply work."""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_local.sandbox.odds import Odds
from sandbox_process import PATIENCE, SandboxProcess, mail
from telegram_client import IGNORES, BotClient

TAGS = [{"name": "delivery_id", "value": "0198c0de-0000-7000-8000-000000000007"}]


@given(seed=st.integers(0, 2**32), share=st.floats(0, 0.25))
def test_the_same_seed_draws_the_same_fates_in_their_shares(seed: int, share: float) -> None:
    def fates() -> list[str]:
        odds = Odds(seed=seed, refused=share, failed=share, failed_after=share, lost=share)
        return [odds.draw() for _ in range(400)]

    drawn = fates()
    assert drawn == fates()
    counts = Counter(drawn)
    # Bernstein's bound, which also holds for rare fates: farther off in one of a billion runs.
    rare = math.log(1e9)
    far = rare / 3 + ((rare / 3) ** 2 + 2 * rare * 400 * share * (1 - share)) ** 0.5 if share else 0
    for fate in ("refused", "failed", "failed_after", "lost"):
        assert abs(counts[fate] - 400 * share) <= far, counts


def test_nothing_is_drawn_where_nothing_can_go_wrong() -> None:
    odds = Odds(seed=1)
    assert (odds.draw(), odds.drawn) == ("fine", 0)


@pytest.fixture
def quiet(provider: SandboxProcess) -> Iterator[SandboxProcess]:
    provider.client.delete("/api/chaos")
    yield provider
    provider.client.delete("/api/chaos")


@pytest.mark.parametrize(
    ("fate", "reply", "effective"),
    [
        ("refused", "429 rate_limit_exceeded", False),
        ("failed", "500 application_error", False),
        ("failed_after", "500 application_error", True),
        ("lost", "lost", True),
    ],
)
def test_each_fate_of_a_mail_and_its_line(quiet: SandboxProcess, fate: str, reply: str, effective: bool) -> None:
    to, key = f"{fate}@odds.example.com", f"odds/{fate}"

    def send() -> httpx.Response | None:
        try:
            return quiet.client.post("/emails", json=mail(to, tags=TAGS), headers={"idempotency-key": key})
        except httpx.TransportError:
            return None

    quiet.chaos(odds={fate: 1.0})
    first = send()
    assert ("lost" if first is None else f"{first.status_code} {first.json()['name']}") == reply
    assert len(quiet.messages(to=to)) == effective
    quiet.client.delete("/api/chaos")
    second = send()
    assert second is not None and second.status_code == 200
    assert len(quiet.messages(to=to)) == 1
    lines = [line for line in quiet.client.get("/api/calls", params={"channel": "email"}).json() if line["key"] == key]
    assert [(line["reply"], line["effective"]) for line in lines] == [(reply, effective)] + [
        ("replayed", False)
    ] * effective
    assert all(line["deliveries"] == [TAGS[0]["value"]] and line["recipients"] == [to] for line in lines)
    # The same request, the same bytes: what a retry has to be.
    assert len({line["payload_sha256"] for line in lines}) == 1


@pytest.mark.parametrize(
    ("fate", "reply", "effective"),
    [("refused", "429", False), ("failed", "500", False), ("failed_after", "500", True), ("lost", "lost", True)],
)
def test_each_fate_of_a_message_and_its_line(quiet: SandboxProcess, fate: str, reply: str, effective: bool) -> None:
    bot, chat = BotClient(quiet), IGNORES + 10 * (1 + ["refused", "failed", "failed_after", "lost"].index(fate))
    quiet.chaos(telegram={"odds": {fate: 1.0}})
    try:
        status = str(bot.raw("sendMessage", chat_id=chat, text="Hello").status_code)
    except httpx.TransportError:
        status = "lost"
    assert status == reply
    assert len(quiet.messages(to=str(chat))) == effective
    lines = quiet.client.get("/api/calls", params={"channel": "telegram"}).json()
    (line,) = [line for line in lines if line["recipients"] == [str(chat)]]
    assert (line["reply"], line["effective"]) == (reply, effective)


def test_a_slow_reply_comes_after_its_effect(quiet: SandboxProcess) -> None:
    quiet.chaos(reply_ms=1000)
    quiet.client.post("/emails", json=mail("slow@odds.example.com")).raise_for_status()
    replied = datetime.now(UTC)
    (message,) = quiet.messages(to="slow@odds.example.com")
    assert replied - datetime.fromisoformat(message["at"]) >= timedelta(seconds=1)


def test_who_gives_up_on_a_slow_reply_has_sent_all_the_same(quiet: SandboxProcess) -> None:
    quiet.chaos(reply_ms=3000)
    with pytest.raises(httpx.ReadTimeout):
        quiet.client.post("/emails", json=mail("hasty@odds.example.com"), timeout=0.5)
    tick, deadline = threading.Event(), time.monotonic() + PATIENCE / 2
    while not (found := quiet.messages(to="hasty@odds.example.com")) and time.monotonic() < deadline:
        tick.wait(0.02)
    assert len(found) == 1


def test_odds_are_fractions(quiet: SandboxProcess) -> None:
    assert quiet.client.post("/api/chaos", json={"odds": {"lost": 1.5}}).status_code == 422
    assert quiet.client.post("/api/chaos", json={"odds": {"lots": 0.5}}).status_code == 422
