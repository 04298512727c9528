"""Clients of a system that is being broken: what they ask, again under the same key until they know, and what they saw.

As Jepsen does, every operation ends `ok`, `failed` (it certainly did nothing) or `indeterminate` (nobody answered): only
what was answered counts as promised.
"""

import itertools
import random
import re
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx
from msgspec import Struct
from nurture_local.verify.inputs import Refused

from tests.faults.stand import Stand, eventually

End = Literal["ok", "failed", "indeterminate"]
UNSUBSCRIBE = re.compile(r"https?://[^\s\"<>]+(/u/[A-Za-z0-9_-]+)")
PATIENCE = 30.0
"""Seconds that a client goes on asking for an answer."""
_numbers = itertools.count(1)

QUICK = """
format = 1
type = "{type}"
title = "A test"
template = "nurture_sequence"
{more}
[[steps]]
name = "first"
when = "now"
channel = "auto"
fallback = "{fallback}"
subject = "One for {{{{ user_name }}}}"
body = \"\"\"
Hi {{{{ user_name }}}}, [here it is]({{{{ dashboard_url }}}}).
\"\"\"
{step}
"""
LATER = """
[[steps]]
name = "{name}"
delay = "1m"
channel = "auto"
subject = "Another for {{{{ user_name }}}}"
body = \"\"\"
Hi {{{{ user_name }}}}, [and here]({{{{ dashboard_url }}}}).
\"\"\"
"""


def sequence(type: str, *, fallback: str = "none", more: str = "", step: str = "", later: int = 0) -> str:
    """A short sequence: one step now, `later` more a minute apart. `more` is put into its head, `step` into its first step."""
    text = QUICK.format(type=type, fallback=fallback, more=more, step=step)
    return text + "".join(LATER.format(name=f"later_{number}") for number in range(later))


class Operation(Struct, kw_only=True):
    """One thing that a client asked for. Times in Unix seconds; `command` where it was answered with one."""

    kind: str
    key: str
    began: float
    ended: float = 0.0
    end: End = "indeterminate"
    status: int = 0
    command: UUID | None = None
    tries: int = 0


class Person(Struct, frozen=True):
    """Somebody who was imported."""

    id: UUID
    name: str
    channel: str
    address: str


class Clients:
    """Whoever uses the system. One instance may be shared by threads."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._turn = itertools.count()
        self.history: list[Operation] = []
        self.refused: list[Refused] = []

    def ask(
        self, kind: str, path: str, body: Any = None, *, key: str | None = None, within: float = PATIENCE, **more: Any
    ) -> httpx.Response | None:
        """POST until there is an answer that is not the server's fault; gateways take turns. None: nobody answered."""
        operation = Operation(kind=kind, key=key or str(uuid4()), began=time.time())
        self.history.append(operation)
        headers = {"Idempotency-Key": operation.key, **more.pop("headers", {})}
        pause = threading.Event()
        while True:
            gateway = self._stand.gateways[next(self._turn) % len(self._stand.gateways)]
            operation.tries += 1
            try:
                answer = gateway.post(path, json=body, headers=headers, **more)
            except httpx.HTTPError:
                answer = None
            operation.ended = time.time()
            if answer is not None and answer.status_code < 500:
                operation.status = answer.status_code
                operation.end = "ok" if answer.status_code < 400 else "failed"
                if "application/json" in answer.headers.get("content-type", "") and "command_id" in answer.json():
                    operation.command = UUID(answer.json()["command_id"])
                return answer
            if time.time() - operation.began > within:
                return None
            pause.wait(0.1)

    def answer(self, kind: str, path: str, body: Any) -> httpx.Response | None:
        """The same for a command, whose answer is waited for where it is late: its key gives it."""
        key = str(uuid4())
        first = self.ask(kind, path, body, key=key)
        if first is None or first.status_code != 202:
            return first
        self.settled(UUID(first.json()["command_id"]))
        return self.ask(kind, path, body, key=key)

    def publish(self, toml: str) -> None:
        """Publish a sequence, and wait until it is."""
        answer = self.ask("publish", "/admin/api/sequences", content=toml, headers={"Content-Type": "application/toml"})
        assert answer is not None and answer.status_code in (201, 202), answer and answer.text
        if answer.status_code == 202:
            self.settled(UUID(answer.json()["command_id"]))

    def people(
        self, emails: int = 0, chats: int = 0, *, acts: tuple[str, ...] = ("ignore",), habits: str = "2"
    ) -> list[Person]:
        """Import new people: `acts` of mail addresses (open, click, bounce, complain, ignore) and `habits` (last digits
        of chats) in turn."""
        lines, names = ["external_id,first_name,email,telegram_chat_id"], []
        for number in range(emails):
            name = f"p{next(_numbers)}"
            names.append(name)
            lines.append(f"{name},{name.title()},{name}+{acts[number % len(acts)]}@example.test,")
        for number in range(chats):
            name = f"p{(count := next(_numbers))}"
            names.append(name)
            lines.append(f"{name},{name.title()},,{7_000_000 + count}{habits[number % len(habits)]}")
        answer = self.ask(
            "import", "/admin/api/users/import", content="\n".join(lines).encode(), headers={"Content-Type": "text/csv"}
        )
        assert answer is not None and answer.json()["created"] == len(names), answer and answer.text
        rows = self._stand.rows(
            "select u.id, u.external_id, c.channel, c.address from gateway.users u join gateway.contacts c on c.user_id = u.id "
            "where u.external_id = any($1)",
            names,
        )
        found = {
            row["external_id"]: Person(row["id"], row["external_id"], row["channel"], row["address"]) for row in rows
        }
        return [found[name] for name in names]

    def start(self, people: list[Person], type: str = "onboarding", **more: Any) -> UUID:
        """Start a sequence for these. Returns the command's id once somebody has answered for it."""
        body = {"user_ids": [str(person.id) for person in people], "sequence_type": type, **more}
        answer = self.ask("trigger", "/admin/api/nurture/trigger", body, within=60)
        assert answer is not None and answer.status_code == 202, answer and answer.text
        return UUID(answer.json()["command_id"])

    def start_one(self, person: Person, type: str = "onboarding") -> httpx.Response | None:
        """Start a sequence for one person; the answer, if there was one."""
        return self.ask("trigger", "/admin/api/nurture/trigger", {"user_id": person.name, "sequence_type": type})

    def settled(self, command: UUID, within: float = 60) -> None:
        """Wait until a command has its answer."""
        eventually(
            lambda: self._stand.rows("select from gateway.commands where id = $1 and state = 'settled'", command),
            f"the answer to {command}",
            within,
        )

    def unsubscribe(self, person: Person, message: dict[str, Any]) -> bool:
        """Press the mail's own unsubscribe link, as a mail program does. True once it was answered 200."""
        found = UNSUBSCRIBE.search(message["html"] or "")
        assert found, message
        answer = self.ask("unsubscribe", found[1], content=b"List-Unsubscribe=One-Click")
        if answer is None or answer.status_code != 200:
            return False
        self.refused.append(Refused(user_id=person.id, channel="email", real_at=time.time()))
        return True

    @property
    def accepted(self) -> list[UUID]:
        """Commands that were answered with 2xx: what was promised."""
        return [one.command for one in self.history if one.end == "ok" and one.command is not None]

    def counts(self) -> dict[str, int]:
        """Operations by how they ended."""
        return dict(Counter(one.end for one in self.history))


class Load:
    """Clients that ask without a pause, each in a thread, while the system is being broken."""

    def __init__(
        self, clients: Clients, stand: Stand, people: list[Person], type: str, seed: int, *, at_once: int = 4
    ) -> None:
        self._clients = clients
        self._stand = stand
        self._waiting = random.Random(seed).sample(people, len(people))
        self._reached: list[Person] = []
        self._type = type
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(at_once, "load")
        self._seeds = [seed + number for number in range(at_once)]
        self._ends: list[Future[None]] = []

    def __enter__(self) -> "Load":
        self._ends = [self._pool.submit(self._run, random.Random(seed)) for seed in self._seeds]
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the asking; whoever was not started yet is started now, all at once."""
        self._stop.set()
        self._pool.shutdown()
        for end in self._ends:
            end.result()
        if self._waiting:
            self._clients.start(self._waiting, self._type)

    @property
    def left(self) -> int:
        """People whom nobody has started yet."""
        return len(self._waiting)

    def _run(self, rng: random.Random) -> None:
        while not self._stop.is_set():
            self._act(rng)
            self._stop.wait(rng.uniform(0.0, 0.15))

    def _take(self, most: int) -> list[Person]:
        with self._lock:
            some, self._waiting = self._waiting[:most], self._waiting[most:]
            self._reached += some
            return some

    def _act(self, rng: random.Random) -> None:
        draw = rng.random()
        if draw < 0.5 or not self._reached:
            for person in self._take(1):
                self._clients.start_one(person, self._type)
        elif draw < 0.65:
            if some := self._take(rng.randint(2, 12)):
                self._clients.start(some, self._type)
        elif draw < 0.85:
            events = [
                {"user": rng.choice(self._reached).name, "event": rng.choice(("attended", "commitment_made"))}
                for _ in range(rng.randint(1, 4))
            ]
            self._clients.ask("events", "/admin/api/events", {"events": events})
        else:
            self._leave(rng.choice(self._reached))

    def _leave(self, person: Person) -> None:
        if person.channel != "email":
            return
        try:
            message = next(iter(self._stand.messages(to=person.address)), None)
        except httpx.HTTPError:
            return
        if message is not None:
            self._clients.unsubscribe(person, message)
