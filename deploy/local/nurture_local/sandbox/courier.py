"""The courier: carries out what is due, webhooks and visits, a few at a time, until each has succeeded."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import structlog

from nurture_local.sandbox import links, webhooks
from nurture_local.sandbox.behaviour import MAX_ATTEMPTS, retry_after
from nurture_local.sandbox.chaos import Chaos
from nurture_local.sandbox.ledger import Attempt, Due, Ledger
from nurture_local.sandbox.wire import NoAnswer, Wire

CONCURRENCY = 32
PAGE = 400
GROUP_SECONDS = 0.005
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
log = structlog.get_logger()


class Courier:
    """Reads due events from the ledger, so that a restart goes on where the last process stopped."""

    def __init__(
        self,
        ledger: Ledger,
        chaos: Chaos,
        webhook_url: str,
        signer: webhooks.Signer | None,
        in_chat: Callable[[Due], Awaitable[str]],
    ) -> None:
        """`in_chat` does what a person does in Telegram, and tells how it went."""
        self._ledger = ledger
        self._in_chat = in_chat
        self._chaos = chaos
        self._webhook_url = webhook_url
        self._signer = signer
        self._queue: asyncio.Queue[Due] = asyncio.Queue()
        self._busy: set[int] = set()
        self._ended: list[Attempt] = []
        self._awaited: dict[int, asyncio.Event] = {}
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._failing_since: float | None = None

    @property
    def running(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    def wake(self) -> None:
        """There may be something due."""
        self._wake.set()

    async def carried_out(self, seq: int, seconds: float) -> None:
        """Return when the event was tried once, or after `seconds`."""
        tried = self._awaited.setdefault(seq, asyncio.Event())
        self.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await tried.wait()
        self._awaited.pop(seq, None)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._write_down())]
        self._tasks += [asyncio.create_task(self._work()) for _ in range(CONCURRENCY)]

    async def stop(self) -> None:
        """Let calls in flight end for a second, write down how they ended, and leave the rest to the next start."""
        watcher, writer, *workers = self._tasks
        watcher.cancel()
        while not self._queue.empty():
            self._busy.discard(self._queue.get_nowait().seq)
        if self._busy:
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._idle.wait()
        for task in (*workers, writer):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._ended:
            await self._ledger.record(self._ended)

    async def _watch(self) -> None:
        while True:
            self._wake.clear()
            if self._queue.qsize() < PAGE // 2:
                # What was busy when the query began may end, and be forgotten, before its older answer is here.
                taken = set(self._busy)
                found = await self._ledger.due(PAGE + len(self._busy), webhooks=self._chaos.settings.webhooks != "off")
                fresh = [event for event in found if event.seq not in taken]
                if self._chaos.settings.webhooks == "shuffle":
                    fresh = _shuffled(fresh)
                for event in fresh:
                    self._busy.add(event.seq)
                    self._queue.put_nowait(event)
            pause = 0.5
            if not self._busy and (next_due := await self._ledger.next_due()) is not None:
                pause = min(0.5, max(0.01, next_due - time.time()))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _work(self) -> None:
        wire = Wire()
        try:
            while True:
                event = await self._queue.get()
                attempt = await self._attempt(wire, event)
                # In two lines: `_ended` is another list by the time the attempt is over.
                self._ended.append(attempt)
                self._news.set()
                if self._queue.qsize() in (0, PAGE // 4):
                    self._wake.set()
        finally:
            wire.close()

    async def _write_down(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(GROUP_SECONDS)  # so that one transaction takes what ends together
            self._news.clear()
            ended, self._ended = self._ended, []
            await self._ledger.record(ended)
            for attempt in ended:
                self._busy.discard(attempt.seq)
                if attempt.seq in self._awaited:
                    self._awaited[attempt.seq].set()
            if not self._busy:
                self._idle.set()

    async def _attempt(self, wire: Wire, event: Due) -> Attempt:
        if event.via == "chat":
            return Attempt(event.seq, await self._in_chat(event))
        try:
            outcome = await (self._visit(wire, event) if event.via == "visit" else self._report(wire, event))
        except NoAnswer as error:
            outcome = f"no answer: {error}"
        done = outcome[0] == "2" or outcome.startswith("nothing") or (event.via == "visit" and outcome[0] in "34")
        if event.via == "webhook":
            self._tell(done, outcome)
        if done:
            return Attempt(event.seq, outcome)
        if event.attempts + 1 >= MAX_ATTEMPTS[event.via]:
            return Attempt(event.seq, f"given up: {outcome}")
        return Attempt(event.seq, outcome, retry_after(event.attempts + 1))

    async def _report(self, wire: Wire, event: Due) -> str:
        if not self._webhook_url or self._signer is None:
            return "nothing to post to: SANDBOX_WEBHOOK_URL is not set"
        body = webhooks.payload(event, tags_as_array=self._chaos.settings.tags_as_array)
        headers = self._signer.headers(event.webhook_id, int(time.time()), body)
        headers |= {"content-type": "application/json", "user-agent": "Svix-Webhooks/1.84 (sandbox)"}
        status = await wire.call("POST", self._webhook_url, headers, body)
        if self._chaos.settings.webhooks == "duplicate":
            status = await wire.call("POST", self._webhook_url, headers, body)
        return str(status)

    async def _visit(self, wire: Wire, event: Due) -> str:
        found = links.find(event.html, msgspec.json.decode(event.headers))
        match event.kind:
            case "opened":
                url = found.pixel
            case "unsubscribed":
                url = found.unsubscribe
            case _:
                url = event.link or next((href for href, _ in found.clicks), None)
        target = links.on_this_machine(url, self._webhook_url) if url else None
        if target is None:
            return "nothing to visit: the mail has no such link to us"
        if event.kind == "unsubscribed":
            form = {"content-type": "application/x-www-form-urlencoded", "user-agent": "MailboxProvider/1.0 (sandbox)"}
            return str(await wire.call("POST", target, form, b"List-Unsubscribe=One-Click"))
        accept = "image/avif,image/webp,*/*;q=0.8" if event.kind == "opened" else "text/html,*/*;q=0.8"
        browser = {"user-agent": BROWSER, "accept": accept, "accept-language": "en-GB,en;q=0.8"}
        return str(await wire.call("GET", target, browser))

    def _tell(self, done: bool, outcome: str) -> None:
        # One line when the endpoint stops answering and one when it is back, not one per webhook.
        if done and self._failing_since is not None:
            log.info("webhooks_accepted_again", after_seconds=round(time.monotonic() - self._failing_since, 1))
            self._failing_since = None
        elif not done and self._failing_since is None:
            self._failing_since = time.monotonic()
            log.warning("webhook_refused", url=self._webhook_url, outcome=outcome, what_next="tried again until 2xx")


def _shuffled(events: list[Due]) -> list[Due]:
    # Later than DELIVERY_SECONDS for some and not for others, so that "delivered" overtakes "sent" about half the time.
    now = time.time()
    fit = [event for event in events if event.attempts or now >= event.happens_at + (event.seq * 7919 % 100) / 200]
    random.shuffle(fit)
    return fit
