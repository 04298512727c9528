"""The two clients. A method builds a call; `_run` carries it out, and repeats it while nobody answers."""

import asyncio
import os
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import httpx

from nurture_client import calls
from nurture_client.answers import Accepted, Cancelled, ChatLink, Command, Enrolled, EventTaken, Person, UpdatesTaken
from nurture_client.attempts import AGAIN, wait_before
from nurture_client.calls import Call, Channel, Event, PersonFields
from nurture_client.errors import Unavailable

T = TypeVar("T")
_chance = random.SystemRandom()


class _Address:
    """Where the gateway is and how long to try. The key is kept in the HTTP client's headers alone."""

    def __init__(self, url: str | None, api_key: str | None, timeout: float, patience: float) -> None:
        url = url or os.environ.get("NURTURE_URL")
        api_key = api_key or os.environ.get("NURTURE_API_KEY")
        missing = [name for name, given in (("NURTURE_URL", url), ("NURTURE_API_KEY", api_key)) if not given]
        if missing:
            raise ValueError(f"give url and api_key, or set {' and '.join(missing)} (`nurture status` shows both)")
        self.patience = patience
        self.options: dict[str, Any] = {
            "base_url": f"{str(url).rstrip('/')}/admin/api/",
            "headers": {
                "Authorization": f"Bearer {api_key}",
                "Content-Type": "application/json",
                # The gateway keeps with each command where it came from.
                "User-Agent": "nurture-client/1",
            },
            "timeout": timeout,
        }


class _Attempts:
    """The attempts of one call. `judge` gives its answer, or None and then `wait` seconds to the next attempt."""

    def __init__(self, call: Call[Any], patience: float) -> None:
        self._call = call
        self._ends = time.monotonic() + patience
        self._number = 1
        self.wait = 0.0
        self.headers = {"Idempotency-Key": call.key} if call.key else {}

    def judge(self, outcome: httpx.Response | httpx.TransportError) -> Any:
        """Raises Refused, or Unavailable when the patience is at its end."""
        answered = isinstance(outcome, httpx.Response)
        if answered and outcome.status_code not in AGAIN:
            return self._call.read(outcome.status_code, outcome.content)
        asked = outcome.headers.get("retry-after") if answered else None
        self._number += 1
        self.wait = wait_before(self._number, _chance.random(), asked, time.time())
        if time.monotonic() + self.wait > self._ends:
            reason = (
                f"{outcome.status_code} {outcome.text[:300]}" if answered else f"{type(outcome).__name__}: {outcome}"
            )
            raise Unavailable(f"{self._call.method} {self._call.path}", self._call.key, reason)
        return None


class Nurture:
    """Blocking. Without arguments it reads NURTURE_URL and NURTURE_API_KEY.

    `timeout` is one attempt's, `patience` a call's, in seconds. Safe to share between threads.
    Every method may raise `Refused` or `Unavailable`.
    """

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, timeout: float = 10.0, patience: float = 30.0
    ) -> None:
        address = _Address(url, api_key, timeout, patience)
        self._patience = address.patience
        self._http = httpx.Client(**address.options)

    def __enter__(self) -> "Nurture":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _run(self, call: Call[T]) -> T:
        attempts = _Attempts(call, self._patience)
        while True:
            try:
                outcome = self._http.request(call.method, call.path, content=call.body, headers=attempts.headers)
            except httpx.TransportError as error:
                outcome = error
            answer = attempts.judge(outcome)
            if answer is not None:
                return answer
            time.sleep(attempts.wait)

    def register(self, first_name: str, *, key: str | None = None, **fields: Any) -> Person:
        """Create a person, or change who is known by id, external_id or email. `fields`: see `PersonFields`."""
        return self._run(calls.register(PersonFields(first_name=first_name, **fields), key))

    def change(self, user: str | UUID, *, key: str | None = None, **fields: Any) -> Person:
        """Change what is given of `PersonFields`; None clears."""
        return self._run(calls.change(user, PersonFields(**fields), key))

    def person(self, user: str | UUID) -> Person:
        """Who somebody is, by id or external_id."""
        return self._run(calls.person(user))

    def trigger(
        self, user: str | UUID, sequence_type: str, *, context: Mapping[str, Any] | None = None,
        channel: Channel | None = None, key: str | None = None,
    ) -> Enrolled | Accepted:  # fmt: skip
        """Start a sequence for one person. Accepted instead of Enrolled when the answer takes longer than two seconds."""
        return self._run(calls.trigger(user, sequence_type, context, channel, key))

    def trigger_many(
        self, users: Sequence[str | UUID] | None, sequence_type: str, *, context: Mapping[str, Any] | None = None,
        confirm: int | None = None, key: str | None = None,
    ) -> Accepted:  # fmt: skip
        """Start a sequence for these, or with None for everybody. A live installation wants their number in `confirm`."""
        return self._run(calls.trigger_many(users, sequence_type, context, confirm, key))

    def cancel(self, user: str | UUID, sequence_type: str, *, key: str | None = None) -> Cancelled | Accepted:
        """End a person's running sequence of this type."""
        return self._run(calls.cancel(user, sequence_type, key))

    def command(self, id: UUID | str) -> Command:
        """What became of a command."""
        return self._run(calls.command(id))

    def event(self, user: str, event: str, *, key: str | None = None, **more: Any) -> EventTaken:
        """Tell what somebody did, with `event_id` and `at` if you like; it moves their scores."""
        return calls.taken(self._run(calls.event(Event(user=user, event=event, **more), key)))

    def events(self, found: Sequence[Event], *, key: str | None = None) -> list[EventTaken]:
        """Up to 1,000 events, each answered on its own."""
        return self._run(calls.events(found, key)).results

    def telegram_update(self, update: Any, *, key: str | None = None) -> UpdatesTaken:
        """Hand over an update of the bot, or a list of them, as the Bot API gave it."""
        return self._run(calls.telegram_updates(update, key))

    def telegram_link(self, user: str | UUID, *, key: str | None = None) -> ChatLink:
        """A link that connects this person's chat."""
        return self._run(calls.telegram_link(user, key))

    def why(self, user: str | UUID) -> dict[str, Any]:
        """Why they got, or did not get, each message."""
        return self._run(calls.why(user))


class AsyncNurture:
    """The same for asyncio. Safe to share between tasks of one loop."""

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, timeout: float = 10.0, patience: float = 30.0
    ) -> None:
        address = _Address(url, api_key, timeout, patience)
        self._patience = address.patience
        self._http = httpx.AsyncClient(**address.options)

    async def __aenter__(self) -> "AsyncNurture":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _run(self, call: Call[T]) -> T:
        attempts = _Attempts(call, self._patience)
        while True:
            try:
                outcome = await self._http.request(call.method, call.path, content=call.body, headers=attempts.headers)
            except httpx.TransportError as error:
                outcome = error
            answer = attempts.judge(outcome)
            if answer is not None:
                return answer
            await asyncio.sleep(attempts.wait)

    async def register(self, first_name: str, *, key: str | None = None, **fields: Any) -> Person:
        """See `Nurture.register`."""
        return await self._run(calls.register(PersonFields(first_name=first_name, **fields), key))

    async def change(self, user: str | UUID, *, key: str | None = None, **fields: Any) -> Person:
        """See `Nurture.change`."""
        return await self._run(calls.change(user, PersonFields(**fields), key))

    async def person(self, user: str | UUID) -> Person:
        """See `Nurture.person`."""
        return await self._run(calls.person(user))

    async def trigger(
        self, user: str | UUID, sequence_type: str, *, context: Mapping[str, Any] | None = None,
        channel: Channel | None = None, key: str | None = None,
    ) -> Enrolled | Accepted:  # fmt: skip
        """See `Nurture.trigger`."""
        return await self._run(calls.trigger(user, sequence_type, context, channel, key))

    async def trigger_many(
        self, users: Sequence[str | UUID] | None, sequence_type: str, *, context: Mapping[str, Any] | None = None,
        confirm: int | None = None, key: str | None = None,
    ) -> Accepted:  # fmt: skip
        """See `Nurture.trigger_many`."""
        return await self._run(calls.trigger_many(users, sequence_type, context, confirm, key))

    async def cancel(self, user: str | UUID, sequence_type: str, *, key: str | None = None) -> Cancelled | Accepted:
        """See `Nurture.cancel`."""
        return await self._run(calls.cancel(user, sequence_type, key))

    async def command(self, id: UUID | str) -> Command:
        """See `Nurture.command`."""
        return await self._run(calls.command(id))

    async def event(self, user: str, event: str, *, key: str | None = None, **more: Any) -> EventTaken:
        """See `Nurture.event`."""
        return calls.taken(await self._run(calls.event(Event(user=user, event=event, **more), key)))

    async def events(self, found: Sequence[Event], *, key: str | None = None) -> list[EventTaken]:
        """See `Nurture.events`."""
        return (await self._run(calls.events(found, key))).results

    async def telegram_update(self, update: Any, *, key: str | None = None) -> UpdatesTaken:
        """See `Nurture.telegram_update`."""
        return await self._run(calls.telegram_updates(update, key))

    async def telegram_link(self, user: str | UUID, *, key: str | None = None) -> ChatLink:
        """See `Nurture.telegram_link`."""
        return await self._run(calls.telegram_link(user, key))

    async def why(self, user: str | UUID) -> dict[str, Any]:
        """See `Nurture.why`."""
        return await self._run(calls.why(user))
