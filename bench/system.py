"""The whole system, driven as its user would: people by CSV, a sequence by TOML, everybody triggered by one call."""

import asyncio
import random
import time
from datetime import datetime
from typing import Any

import asyncpg

from bench.measures import Pass
from bench.meter import Meter
from bench.stand import System, wait_for

ENDING = 0.5
"""Seconds after the last row in which late work (outbox marks) still counts as the run's."""
PATIENCE = 300.0


def sequence(name: str) -> str:
    """One email, due at once, of the size of the shipped ones."""
    return f'''format = 1
type = "{name}"
title = "Bench"
description = "One message, due at once."
template = "nurture_sequence"
max_lateness = "24h"

[[steps]]
name = "only"
when = "now"
channel = "email"
subject = "One small promise for this week, {{{{ user_name }}}}"
body = """
Hi {{{{ user_name }}}},

here is the most reliable trick we know. A plan that names a moment gets done far more often than a plan that only
names a goal:

> *When* I have poured my morning coffee, *then* I will write for ten minutes.

The coffee is the reminder, so you do not need to remember anything. Look at what you wrote down yesterday and give it
a moment like that: after something that happens every day anyway.

[Add a moment to my commitment]({{{{ dashboard_url }}}})
"""
'''


def _by_chat(name: str, people: int) -> dict[str, Any]:
    ids = [f"chat-{n}" for n in range(people)]
    return {"user_ids": ids, "sequence_type": name, "override_channel": "telegram", "confirm": people}


class Rows:
    """What the stand reads from the database, as its administrator, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection: asyncpg.Connection = self._loop.run_until_complete(asyncpg.connect(url))

    def value(self, sql: str, *args: Any) -> Any:
        return self._loop.run_until_complete(self._connection.fetchval(sql, *args))

    def all(self, sql: str, *args: Any) -> list[Any]:
        return self._loop.run_until_complete(self._connection.fetch(sql, *args))

    def close(self) -> None:
        self._loop.run_until_complete(self._connection.close(timeout=5))
        self._loop.close()


class Driver:
    """Everything that is done to a running system. `people` are imported once, each pass is a sequence of its own."""

    def __init__(self, system: System, people: int) -> None:
        self.system = system
        self.people = people
        self.rows = Rows(system.database_url)
        self._published = 0
        self._passed = ""
        self.import_seconds = self._import()

    def _import(self) -> float:
        lines = ["external_id,first_name,email,timezone"]
        lines += [f"bench-{n},Person{n},person{n}@example.com,Europe/Berlin" for n in range(self.people)]
        began = time.monotonic()
        done = self.system.post(
            "/admin/api/users/import",
            content="\n".join(lines).encode(),
            headers={"Content-Type": "text/csv"},
            wanted=(200,),
        )
        assert done["created"] == self.people and not done["rejected"], done
        return time.monotonic() - began

    def passed(self) -> str:
        """The latest sequence that was run for everybody; runs one when there is none."""
        if not self._passed:
            self.run(webhooks=False)
        return self._passed

    def publish(self) -> str:
        """A fresh one-step sequence, so that the same people can start again."""
        self._published += 1
        name = f"bench_{self._published}"
        answer = self.system.post(
            "/admin/api/sequences",
            content=sequence(name).encode(),
            headers={"Content-Type": "application/toml"},
            wanted=(201, 202),
        )
        self._settled(answer["command_id"])
        return name

    def run(self, *, webhooks: bool, latency_ms: float = 0) -> Pass:
        """Start everybody and follow each message to its rows."""
        name, people, sink = self.publish(), self.people, self.system.sink
        port = self.system.gateway_port if webhooks else 0
        sink.ask(reset=True, latency_ms=latency_ms, webhook_port=port)
        meter = Meter({**self.system.pids, "sink": sink.pid})
        due = time.monotonic()
        answer = self.system.post(
            "/admin/api/nurture/trigger",
            json={"segment": "all", "sequence_type": name, "confirm": people},
            wanted=(202,),
        )
        wait_for(lambda: sink.ask()["accepted"] >= people, f"{people} accepted emails", within=PATIENCE)
        sent = self._until("sent_at", name, due)
        delivered = None
        if webhooks:
            wait_for(lambda: sink.ask()["acked"] >= people, f"{people} acknowledged webhooks", within=PATIENCE)
            delivered = self._until("delivered_at", name, due)
        time.sleep(ENDING)
        cpu = meter.spent()
        seen = sink.ask()
        settled = self._settled(answer["command_id"])
        self._passed = name
        return Pass(
            deliveries=people,
            at_provider=seen["accepted"],
            delivered=self._rows("delivered_at", name),
            accepted=seen["last_accepted"] - due,
            sent_rows=sent,
            acked=seen["last_acked"] - due if webhooks else None,
            delivered_rows=delivered,
            calls=seen["calls"],
            repeated=seen["repeated"],
            bytes_per_email=seen["bytes"] / people,
            cpu=cpu,
            settled=settled,
        )

    def chats(self, people: int) -> Pass:
        """Start that many people who have a chat, by Telegram: a call each, since it knows no batches."""
        self._import_chats(people)
        name, sink = self.publish(), self.system.sink
        sink.ask(reset=True, latency_ms=0, webhook_port=0)
        meter = Meter({**self.system.pids, "sink": sink.pid})
        due = time.monotonic()
        self.system.post("/admin/api/nurture/trigger", json=_by_chat(name, people), wanted=(202,))
        wait_for(lambda: self._rows("delivered_at", name) == people, f"{people} chats", within=PATIENCE, every=0.1)
        took = time.monotonic() - due
        time.sleep(ENDING)
        sent = sink.ask()["chats"]
        return Pass(
            deliveries=people, at_provider=sent, delivered=people, accepted=took, sent_rows=took, calls=sent,
            repeated=sent - people, bytes_per_email=0.0, cpu=meter.spent(),
        )  # fmt: skip

    def _import_chats(self, people: int) -> None:
        lines = ["external_id,first_name,telegram_chat_id"]
        lines += [f"chat-{n},Chat{n},{900_000_000 + n}" for n in range(people)]
        csv = {"content": "\n".join(lines).encode(), "headers": {"Content-Type": "text/csv"}, "wanted": (200,)}
        self.system.post("/admin/api/users/import", **csv)

    def plan(self, channel: str, people: int) -> None:
        """Start that many on a channel, everybody where it is email, and return when each has a delivery that waits."""
        if channel == "telegram":
            self._import_chats(people)
        name = self.publish()
        everybody = {"segment": "all", "sequence_type": name, "confirm": people}
        asked = everybody if channel == "email" else _by_chat(name, people)
        self.system.post("/admin/api/nurture/trigger", json=asked, wanted=(202,))
        wait_for(lambda: self._rows("created_at", name) == people, f"{people} deliveries", within=PATIENCE, every=0.1)

    def _settled(self, command_id: str) -> float:
        """Seconds from the trigger to its answer at the gateway."""
        path = f"/admin/api/commands/{command_id}"

        def ask() -> dict[str, Any] | None:
            command = self.system.api.get(path).json()
            return command if command["state"] == "settled" else None

        command = wait_for(ask, "the end of the trigger's command", within=PATIENCE, every=0.2)
        first, last = (datetime.fromisoformat(command[name]) for name in ("created_at", "settled_at"))
        return (last - first).total_seconds()

    def _until(self, fact: str, name: str, due: float) -> float:
        what = f"{self.people} rows with {fact}"
        wait_for(lambda: self._rows(fact, name) == self.people, what, within=PATIENCE, every=0.1)
        return time.monotonic() - due

    def _rows(self, fact: str, name: str) -> int:
        sql = f"select count(*) from controller.deliveries where sequence_type = $1 and {fact} is not null"
        return self.rows.value(sql, name)

    def one_by_one(self, times: int) -> list[float]:
        """Seconds from a trigger for one person to the provider's first byte of the call, with the system idle before each."""
        name, sink, found = self.publish(), self.system.sink, []
        sink.ask(reset=True, latency_ms=0, webhook_port=0)
        for number in range(times):
            # Not in step with any ticker of the services.
            time.sleep(random.uniform(0.15, 0.35))
            began = time.monotonic()
            answer = self.system.post(
                "/admin/api/nurture/trigger",
                json={"user_id": f"bench-{number % self.people}", "sequence_type": name},
                wanted=(201,),
            )
            delivery = answer.get("delivery_id") or self._delivery(answer["enrolment_id"])
            arrived = wait_for(lambda one=delivery: sink.arrivals([one])[0], "the provider call", within=30, every=0.01)
            found.append(arrived - began)
        return found

    def _delivery(self, enrolment_id: str) -> str:
        return str(
            self.rows.value("select id from controller.deliveries where enrolment_id = $1::text::uuid", enrolment_id)
        )

    def idle(self, seconds: float, quiet: float = 6.0) -> dict[str, float]:
        """CPU seconds a second, by process, after everything has been quiet for a while."""
        time.sleep(quiet)
        meter = Meter({**self.system.pids, "supervisor": self.system.supervisor})
        began = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        return {name: spent / took for name, spent in meter.spent().items()}

    def close(self) -> None:
        self.rows.close()
