"""Shorter waits for a service under test: the rules stay as they are, only their seconds are fewer."""

import importlib
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Struct


class Haste(Struct, kw_only=True, forbid_unknown_fields=True):
    """Seconds; None leaves what the service has. `lease`, `call` and `margin` belong together: a call begins only while
    more than `call + margin` of its lease is left. `ticks` multiplies how often tickers look by themselves. `topology` is
    how often the bus is looked after. `ack_wait` is what the controller gives every consumer; `key_lifetime` for how long
    the email room trusts an idempotency key, `provider_key` for how long the sandbox keeps one, `park` for how long email
    stands still whose relay cannot be reached.
    """

    lease: float | None = None
    call: float | None = None
    margin: float | None = None
    ticks: float | None = None
    sweep: float | None = None
    topology: float | None = None
    ack_wait: float | None = None
    max_ack_pending: int | None = None
    key_lifetime: float | None = None
    provider_key: float | None = None
    park: float | None = None


def apply(module: str, settings: str) -> None:
    """Patch what `module` will read."""
    haste = msgspec.json.decode(settings, type=Haste)
    if module == "nurture_local.sandbox":
        if haste.provider_key is not None:
            _module("nurture_local.sandbox.ledger").IDEMPOTENCY_SECONDS = haste.provider_key
        return
    if module == "nurture_email":
        _email(haste)
    if module == "nurture_telegram":
        _telegram(haste)
    if module == "nurture_controller":
        _controller(haste)
    if haste.sweep is not None:
        _default(_module("nurture_chassis.outbox").Outbox.sweep, older_than=haste.sweep)
    if haste.ticks is not None:
        _ticks(haste.ticks)


def _email(haste: Haste) -> None:
    sender, volleys = _module("nurture_email.sender"), _module("nurture_email.volleys")
    if haste.lease is not None:
        _default(sender.Sender.__init__, lease=haste.lease)
        _default(volleys.Volleys.__init__, lease=haste.lease)
    if haste.call is not None:
        sender.TOTAL_SECONDS = volleys.TOTAL_SECONDS = haste.call
        _default(_module("nurture_email.resend").Resend.__init__, total=haste.call)
        _default(_module("nurture_email.smtp").Smtp.__init__, total=haste.call)
    if haste.margin is not None:
        _module("nurture_chassis.sending").LEASE_MARGIN = haste.margin
    if haste.key_lifetime is not None:
        _module("nurture_email.attempts").KEY_LIFETIME = timedelta(seconds=haste.key_lifetime)
    if haste.park is not None:
        _module("nurture_email.verdicts").OUT_OF_REACH_SECONDS = haste.park


def _telegram(haste: Haste) -> None:
    sender = _module("nurture_telegram.sender")
    if haste.lease is not None:
        _default(sender.Sender.__init__, lease=haste.lease)
    if haste.call is not None:
        _default(sender.Sender.__init__, call_seconds=haste.call)
        _default(_module("nurture_telegram.bot_api").BotApi.__init__, total=haste.call)
    if haste.margin is not None:
        _module("nurture_chassis.sending").LEASE_MARGIN = haste.margin


def _controller(haste: Haste) -> None:
    if haste.topology is not None:
        _module("nurture_controller.keeping").SECONDS = haste.topology
    topology = _module("nurture_chassis.topology")
    changes: dict[str, Any] = {}
    if haste.ack_wait is not None:
        changes["ack_wait"] = haste.ack_wait
    if haste.max_ack_pending is not None:
        changes["max_ack_pending"] = haste.max_ack_pending
    if changes:
        topology.CONSUMERS = tuple(msgspec.structs.replace(one, **changes) for one in topology.CONSUMERS)


def _ticks(factor: float) -> None:
    service = _module("nurture_chassis.service").Service
    tick = service.tick

    def quicker(self: Any, name: str, work: Any, *, every: float) -> Any:
        # A ticker that runs once an hour is no part of what is tested.
        return tick(self, name, work, every=every * factor if every <= 60 else every)

    service.tick = quicker


def _default(function: Any, **values: float) -> None:
    """Another default of a parameter; a name that is not one is an error, so that a renamed parameter is noticed."""
    keyword = function.__kwdefaults__ or {}
    for name, value in values.items():
        if name in keyword:
            keyword[name] = value
            continue
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        if name not in names:
            raise LookupError(f"{function.__qualname__} has no parameter {name!r}")
        place = names.index(name) - len(names)
        defaults = list(function.__defaults__)
        defaults[place] = value
        function.__defaults__ = tuple(defaults)


def _module(name: str) -> Any:
    return importlib.import_module(name)
