"""Places where a process can be made to end, as kill -9 there would end it. Nothing of this is in the services."""

import asyncio
import functools
import importlib
import inspect
import os
from collections.abc import Callable
from typing import Any, NamedTuple

CODE = 137
"""What a shell says of a process that was killed with signal 9."""


class Point(NamedTuple):
    """Before or after a call of `owner.method` in `module`. `counts` says which calls are meant, by arguments and result."""

    module: str
    owner: str
    method: str
    after: bool
    counts: Callable[[tuple[Any, ...], Any], bool] = lambda args, result: True


def _statement(*names: str) -> Callable[[tuple[Any, ...], Any], bool]:
    return lambda args, result: args[1] in names


def _heard(*durables: str) -> Callable[[tuple[Any, ...], Any], bool]:
    return lambda args, result: args[0].metadata.consumer in durables


def _taken(args: tuple[Any, ...], result: Any) -> bool:
    return result is not None


def _volley(args: tuple[Any, ...], result: Any) -> bool:
    return bool(result.claims)


def _some(args: tuple[Any, ...], result: Any) -> bool:
    return bool(result)


OUTBOX, DATABASE = "nurture_chassis.outbox", "nurture_chassis.database"
POINTS: dict[str, Point] = {
    # A channel's attempt, as it goes along: page, claim, call, settlement.
    "email.before_page": Point("nurture_email.store", "Store", "take_page", after=False),
    "email.before_ack": Point("nats.aio.msg", "Msg", "ack", after=False, counts=_heard("email-send")),
    "email.before_claim": Point("nurture_email.store", "Store", "claim_next", after=False),
    "email.after_claim": Point("nurture_email.store", "Store", "claim_next", after=True, counts=_taken),
    "email.after_call": Point("nurture_email.resend", "Resend", "send", after=True),
    "email.before_commit": Point(
        DATABASE, "Transaction", "execute", after=True, counts=_statement("outbox_add", "claim_follow_up")
    ),
    "email.before_settle": Point("nurture_email.store", "Store", "settle", after=False),
    "email.after_commit": Point("nurture_email.store", "Store", "settle", after=True),
    # The same over SMTP, in volleys.
    "email.before_volley": Point("nurture_email.volley_store", "VolleyStore", "claim_volley", after=False),
    "email.after_volley": Point("nurture_email.volley_store", "VolleyStore", "claim_volley", after=True, counts=_some),
    "email.after_mail": Point("nurture_email.smtp", "Smtp", "send", after=True),
    "email.before_ends": Point(DATABASE, "Transaction", "fetch", after=True, counts=_statement("volley_settle")),
    "email.after_ends": Point("nurture_email.volley_store", "VolleyStore", "end", after=True),
    "telegram.before_page": Point("nurture_telegram.store", "Store", "take_page", after=False),
    "telegram.before_ack": Point("nats.aio.msg", "Msg", "ack", after=False, counts=_heard("telegram-send")),
    "telegram.before_claim": Point("nurture_telegram.store", "Store", "turn", after=False),
    "telegram.after_claim": Point("nurture_telegram.store", "Store", "turn", after=True, counts=_volley),
    "telegram.after_call": Point("nurture_telegram.bot_api", "BotApi", "send", after=True),
    "telegram.before_commit": Point(DATABASE, "Transaction", "execute", after=True, counts=_statement("outbox_add")),
    "telegram.after_commit": Point(OUTBOX, "Outbox", "publish", after=False),
    # The other rooms: inside the transaction, between commit and publishing, between commit and ack.
    "controller.before_commit": Point(DATABASE, "Transaction", "execute", after=True, counts=_statement("outbox_add")),
    "controller.before_publish": Point(OUTBOX, "Outbox", "publish", after=False),
    "controller.before_fold": Point(DATABASE, "Transaction", "execute", after=True, counts=_statement("facts_fold")),
    "controller.before_ack": Point(
        "nats.aio.msg",
        "Msg",
        "ack",
        after=False,
        counts=_heard("controller-start", "controller-email-settled", "controller-telegram-settled"),
    ),
    "gateway.before_commit": Point(DATABASE, "Transaction", "execute", after=True, counts=_statement("outbox_add")),
    "gateway.before_answer": Point(OUTBOX, "Outbox", "publish", after=False),
    "scoring.before_commit": Point(DATABASE, "Transaction", "execute", after=True, counts=_statement("add_sums")),
    "scoring.before_ack": Point(
        "nats.aio.msg",
        "Msg",
        "ack",
        after=False,
        counts=_heard("scoring-email-observed", "scoring-telegram-settled", "scoring-record-events"),
    ),
}


def arm(asked: str) -> None:
    """`name` or `name:n`: end this process at its n-th time there."""
    name, _, number = asked.partition(":")

    def end() -> None:
        os.write(2, f"crash point {asked}\n".encode())
        os._exit(CODE)

    _patch(POINTS[name], int(number or 1), end)


def stall(asked: str) -> None:
    """`name@path`: the first time there waits until `path` exists; everything else in this process goes on."""
    name, _, path = asked.partition("@")

    async def wait() -> None:
        while not os.path.exists(path):  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(0.02)

    _patch(POINTS[name], 1, wait)


def _patch(point: Point, number: int, act: Callable[[], Any]) -> None:
    owner = getattr(importlib.import_module(point.module), point.owner)
    method = getattr(owner, point.method)
    left = [number]

    def here(args: tuple[Any, ...], result: Any = None) -> Any:
        if point.counts(args, result):
            left[0] -= 1
            if left[0] == 0:
                return act()
        return None

    async def pause(args: tuple[Any, ...], result: Any = None) -> None:
        if (waiting := here(args, result)) is not None:
            await waiting

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def patched(*args: Any, **kwargs: Any) -> Any:
            if not point.after:
                await pause(args)
            result = await method(*args, **kwargs)
            if point.after:
                await pause(args, result)
            return result

    else:

        @functools.wraps(method)
        def patched(*args: Any, **kwargs: Any) -> Any:
            if not point.after:
                here(args)
            result = method(*args, **kwargs)
            if point.after:
                here(args, result)
            return result

    setattr(owner, point.method, patched)
