"""Two of a service: one shared limit in every second, no message twice, one poller that is replaced when it dies."""

import os
import signal
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from tests.journeys.system import System, eventually, running


def busiest_second(times: list[float]) -> int:
    times = sorted(times)
    start = most = 0
    for end, at in enumerate(times):
        while at - times[start] >= 1.0:
            start += 1
        most = max(most, end - start + 1)
    return most


def seconds(system: System, channel: str, distinct: str) -> list[float]:
    """When the provider took each call, in real seconds, from its own ledger."""
    with closing(sqlite3.connect(f"file:{system.data_dir}/sandbox/ledger.sqlite3?mode=ro", uri=True)) as ledger:
        taken = ledger.execute(f"select min(real_at) from messages where channel = ? group by {distinct}", (channel,))
        return [datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at) for (at,) in taken]


@pytest.mark.long
def test_two_email_replicas_share_one_limit(data_dir: Path, tmp_path: Path) -> None:
    with running(data_dir, "--replicas", "email=2", env={"SANDBOX_RATE_LIMIT": "8"}) as system:
        file = tmp_path / "people.csv"
        file.write_text(
            "external_id,first_name,email\n" + "".join(f"p{n},P{n},p{n}+ignore@example.test\n" for n in range(3000))
        )
        system.cli("people", "import", str(file))
        system.trigger_all()
        system.quiet(3000)
        ledger = system.ledger()
        assert (ledger["messages"], ledger["repeats"]) == (3000, 0)
        # Calls leave within a tenth of a second of their slots, and a tenth of the rate is kept back for that. The ledger
        # is written after the provider's own work, which may bring one more into the second.
        assert busiest_second(seconds(system, "email", "idempotency_key")) <= 8 + 1


@pytest.mark.long
def test_two_telegram_replicas_share_one_limit_and_one_polls(data_dir: Path, tmp_path: Path) -> None:
    with running(
        data_dir, "--replicas", "telegram=2", env={"TELEGRAM_RATE_LIMIT": "8", "SANDBOX_TELEGRAM_RATE": "8"}
    ) as system:
        file = tmp_path / "chats.csv"
        file.write_text(
            "external_id,first_name,telegram_chat_id\n"
            + "".join(f"c{n},C{n},{900_000_000 + n * 10 + 2}\n" for n in range(100))
        )
        system.cli("people", "import", str(file))
        system.trigger_all()
        system.quiet(100, within=60)
        ledger = system.ledger()
        assert (ledger["messages"], ledger["repeats"]) == (100, 0)
        assert busiest_second(seconds(system, "telegram", "delivery_id")) <= 8 + 1

        def holder() -> str:
            rows = system.rows("select holder from telegram.leases where until > now() and name like '%poll%'")
            return rows[0]["holder"] if len(rows) == 1 else ""

        first = eventually(holder, what="a poller")
        pid = int(first.split(":")[1])
        assert pid in {service["pid"] for service in system.status()["services"].values()}
        os.kill(pid, signal.SIGKILL)
        second = eventually(lambda: (now := holder()) and now != first and now, within=60, what="another poller")
        assert int(second.split(":")[1]) != pid
        person = system.person("after-the-kill", email="after@example.test")
        link = system.post(f"/admin/api/users/{person}/telegram-link").json()["url"]
        system.inbox.post("/api/telegram/say", json={"chat_id": 777000012, "text": f"/start {link.split('start=')[1]}"})
        eventually(
            lambda: system.api.get(f"/admin/api/users/{person}").json().get("telegram_chat_id"),
            within=40,
            what="an update heard by it",
        )
