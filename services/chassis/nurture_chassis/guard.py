"""Mends for three faults of the stack: a pull loop that spins when its consumer is gone or its connection closed, and one
that keeps a message back until a time-out."""

import asyncio
import contextlib
import json
from typing import Any

import nats.errors
import nats.js.errors
from faststream.nats import NatsBroker
from nats.js.client import JetStreamContext


def guard(broker: NatsBroker, lost: asyncio.Event) -> None:
    """Make every fetch yield when it fails. FastStream suppresses these errors without awaiting anything, which
    freezes the event loop on a closed connection and burns a core on a deleted consumer. `lost` is set when the
    connection closed for good: the process should end and be started again."""
    for subscriber in broker.subscribers:
        subscription: Any = getattr(subscriber, "subscription", None)
        if not hasattr(subscription, "fetch"):
            continue
        subscription.fetch = _patient(subscription, subscription.fetch, lost)


async def _also_waiting(subscription: Any, batch: int) -> list[Any]:
    """What waits already: `no_wait` without `expires` is answered at once, by messages or by a status."""
    request = json.dumps({"batch": batch, "no_wait": True}).encode()
    await subscription._nc.publish(subscription._nms, request, subscription._deliver)
    found: list[Any] = []
    with contextlib.suppress(nats.errors.Error, TimeoutError):
        while len(found) < batch:
            message = await subscription._sub.next_msg(timeout=1.0)
            if JetStreamContext.is_status_msg(message):
                break
            found.append(message)
    return found


def _patient(subscription: Any, fetch: Any, lost: asyncio.Event) -> Any:
    async def patient(batch: int = 1, timeout: float | None = 5, **kwargs: Any) -> list[Any]:
        try:
            # Never nats-py's fetch of several: after an idle time-out it may leave a request behind at the server, and
            # the message that comes by it is held back, waiting for company, until the next time-out.
            first = await fetch(1, timeout=timeout, **kwargs)
            return first + await _also_waiting(subscription, batch - 1) if batch > 1 else first
        except nats.errors.ConnectionClosedError:
            lost.set()
            await asyncio.sleep(0.5)
            raise
        except (nats.js.errors.APIError, nats.errors.NoRespondersError):
            await asyncio.sleep(0.5)
            raise nats.errors.TimeoutError from None
        except nats.errors.TimeoutError:
            raise
        except TimeoutError:
            # A bare asyncio time-out would end FastStream's consume task for good.
            raise nats.errors.TimeoutError from None

    return patient
