"""What `nurture demo crash` does: people keep coming, one process after another is killed, and then everything is counted."""

import asyncio
import csv
import io
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
from msgspec import Struct

from nurture_local import audience
from nurture_local.gateway import Gateway, Location, problem
from nurture_local.terminal import Failure
from nurture_local.throwaway import Throwaway
from nurture_local.verify import examine, place
from nurture_local.verify.history import Snapshot
from nurture_local.verify.record import Unreadable
from nurture_local.verify.verdict import Verdict

SEQUENCE = "onboarding"
LATENCY_MS = 400
"""A provider that takes its time: whoever is killed dies with calls under way."""
FIRST = ("email", "telegram")
REST = ("controller", "gateway", "scoring", "nats")
_SHARES = 3
"""Groups of people that are started between two kills."""
_PATIENCE = 60.0
_DRAIN = 240.0
_UNDER_WAY = 5.0


class Kill(Struct, frozen=True):
    """One kill -9: how many messages the providers had by then, and seconds until its replacement was ready."""

    name: str
    messages: int
    back_after: float


class Outcome(Struct, frozen=True, kw_only=True):
    """What happened, and what the checks say. `messages` by channel are what the sandbox's ledger holds; `started` of
    `people` who can be reached have an enrolment."""

    people: int
    started: int
    kills: list[Kill]
    messages: dict[str, int]
    verdicts: list[Verdict]
    seconds: float

    def bad(self, *checks: str) -> int:
        """How much these checks found."""
        return sum(len(one.bad) for one in self.verdicts if one.check in checks)

    @property
    def duplicates(self) -> int:
        return self.bad("C1")

    @property
    def missing(self) -> int:
        """Enrolments, deliveries and effects that should be there, and people whom nobody started."""
        return self.bad("C2", "C3") + self.people - self.started

    @property
    def unknown(self) -> list[tuple[str, str]]:
        """Id and reason of each delivery of which nobody knows whether it arrived."""
        return [(bad.id, bad.why) for one in self.verdicts if one.check == "C5" for bad in one.listed]

    @property
    def ok(self) -> bool:
        """Nothing twice, nothing missing, nothing else found, and every check could look."""
        looked = all(one.ok and one.skipped is None for one in self.verdicts)
        return looked and not self.missing and bool(self.kills) and bool(self.messages)


def order(kills: int, seed: int) -> list[str]:
    """Who is killed, one after the other: first those who send, since what they had under way is taken up only when their
    lease of a minute is over, then the others in turn."""
    choose, names = random.Random(seed), []  # noqa: S311 - an order that can be had again, not a secret
    while len(names) < kills:
        names += [*choose.sample(FIRST, len(FIRST)), *choose.sample(REST, len(REST))]
    return names[:kills]


def run(instance: Throwaway, people: int, kills: int, seed: int, tell: Callable[[str], None]) -> Outcome:
    """Import, start, kill, wait, look. `tell` gets a line for whatever happens. Raises Failure."""
    try:
        return _run(instance, people, kills, seed, tell)
    except httpx.HTTPError as error:
        raise Failure(f"the sandbox's provider does not answer: {error or type(error).__name__}") from None


def _run(instance: Throwaway, people: int, kills: int, seed: int, tell: Callable[[str], None]) -> Outcome:
    began = time.monotonic()
    status = instance.status
    file = audience.as_csv(audience.people(people, seed))
    found = [row["external_id"] for row in csv.DictReader(io.StringIO(file)) if row["email"] or row["telegram_chat_id"]]
    provider = httpx.Client(base_url=status["sandbox"], timeout=10, trust_env=False)
    with provider, Gateway(Location(status["gateway"], status["api_key"], False)) as gateway:
        gateway.post_text("/admin/api/users/import", file, "text/csv")
        slow = {"latency_ms": LATENCY_MS, "telegram": {"latency_ms": LATENCY_MS}}
        provider.post("/api/chaos", json=slow).raise_for_status()
        tell(f"{len(found)} of {people} made-up people can be reached; their {SEQUENCE} begins now, a few at a time")
        clients = _Clients(status["gateway"], status["api_key"])
        shares = _shares(found, kills * _SHARES)
        done: list[Kill] = []
        for name in order(kills, seed):
            before = _taken(provider)
            for group in (next(shares, []) for _ in range(_SHARES - 1)):
                clients.start(group)
            _wait(lambda before=before: _taken(provider) > before, _UNDER_WAY)
            messages, at, pid = _taken(provider), time.monotonic(), _killed(instance, name)
            clients.start(next(shares, []))
            _until(lambda name=name, pid=pid: instance.is_back(name, pid), f"another {name}")
            done.append(Kill(name, messages, time.monotonic() - at))
            tell(f"kill -9 {name:<11}{messages:>5} messages sent by then · back in {done[-1].back_after:.1f} s")
        for group in shares:
            clients.start(group)
        provider.delete("/api/chaos").raise_for_status()
        tell(
            "everybody is started; now what the dead had under way is taken up, once their leases of a minute are over"
        )
        started = sum(clients.settled(gateway))
        _until(lambda: _still(gateway), "the end of every message", _DRAIN)
        history, verdicts = asyncio.run(_look(instance, gateway))
    return Outcome(
        people=len(found),
        started=started,
        kills=done,
        messages=dict(Counter(one.channel for one in history.ledger or () if one.delivery_id is not None)),
        verdicts=verdicts,
        seconds=time.monotonic() - began,
    )


async def _look(instance: Throwaway, gateway: Gateway) -> tuple[Snapshot, list[Verdict]]:
    try:
        return await examine.everything(place.here(instance.data), lambda: gateway.get("/admin/api/deliveries/summary"))
    except Unreadable as error:
        raise Failure(str(error)) from None


def _shares(people: list[str], number: int) -> Iterator[list[str]]:
    """As many groups as asked for, as even as can be; fewer if there are fewer people."""
    for turn in range(number):
        if group := people[turn * len(people) // number : (turn + 1) * len(people) // number]:
            yield group


def _killed(instance: Throwaway, name: str) -> int:
    while (pid := instance.kill(name)) is None:
        time.sleep(0.05)
    return pid


def _taken(provider: httpx.Client) -> int:
    return provider.get("/api/ledger/summary").raise_for_status().json()["messages"]


def _still(gateway: Gateway) -> bool:
    try:
        counts = gateway.get("/admin/api/deliveries/summary")
    except Failure:
        return False
    return sum(counts.values()) > 0 and not counts.get("pending")


def _until(done: Callable[[], bool], what: str, seconds: float = _PATIENCE) -> None:
    if not _wait(done, seconds):
        raise Failure(f"{what} did not come within {seconds:g} s")


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class _Clients:
    """Whoever asks for things: after no answer, or a server's fault, the same again under the same key."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=10, trust_env=False
        )
        self._commands: list[str] = []

    def start(self, people: list[str]) -> None:
        """Start the sequence for these. Returns once that was accepted. Raises Failure."""
        if not people:
            return
        body = {"user_ids": people, "sequence_type": SEQUENCE}
        headers, deadline = {"Idempotency-Key": str(uuid.uuid4())}, time.monotonic() + _PATIENCE
        while True:
            try:
                answer = self._client.post("/admin/api/nurture/trigger", json=body, headers=headers)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code < 500:
                break
            if time.monotonic() > deadline:
                raise Failure(f"the gateway took no command for {_PATIENCE:g} s")
            time.sleep(0.1)
        if not answer.is_success:
            raise problem(answer)
        self._commands.append(answer.json()["status_url"])

    def settled(self, gateway: Gateway) -> Iterator[int]:
        """How many people each command has started, once it is done. Raises Failure."""
        for url in self._commands:
            report = gateway.settled(url, _PATIENCE)
            if report is None:
                raise Failure(f"no answer to a command within {_PATIENCE:g} s: {url}")
            yield report["result"]["started"]
