"""Mends for two faults of the stack: a pull loop that spins when its consumer is gone or its connection closed."""

import asyncio
from typing import Any

import nats.errors
import nats.js.errors
from faststream.nats import NatsBroker


def guard(broker: NatsBroker, lost: asyncio.Event) -> None:
    """Make every fetch yield when it fails. FastStream suppresses these errors without awaiting anything, which
    freezes the event loop on a closed connection and burns a core on a deleted consumer. `lost` is set when the
    connection closed for good: the process should end and be started again."""
    for subscriber in broker.subscribers:
        subscription: Any = getattr(subscriber, "subscription", None)
        if not hasattr(subscription, "fetch"):
            continue
        subscription.fetch = _patient(subscription.fetch, lost)


def _patient(fetch: Any, lost: asyncio.Event) -> Any:
    async def patient(*args: Any, **kwargs: Any) -> Any:
        try:
            return await fetch(*args, **kwargs)
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
