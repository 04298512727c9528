"""What is known before anything is judged: gathered from the data dir, the supervisor, the bus and the gateway."""

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from nurture_local import bus_state, control, nats
from nurture_local.gateway import Gateway
from nurture_local.instance import DataDir, State
from nurture_local.ports import LOOPBACK
from nurture_local.probes import http_get
from nurture_local.terminal import UNREACHABLE, Failure

_PATIENCE = 5.0
_LETTERS_COUNTED = 1_000
_PAGE = 200


class Process(Struct, frozen=True):
    """A child as the supervisor sees it, why it says that it is not ready, and why it holds back although it is."""

    state: str
    stage: str
    problems: list[str] = []
    held: list[str] = []


class Front(Struct, frozen=True):
    """What the gateway answered. `health`, `letters`, `holds` and `ahead` (seconds) are None when it told nothing."""

    url: str
    trouble: str | None = None
    key_trouble: str | None = None
    health: dict[str, Any] | None = None
    letters: int | None = None
    ahead: float | None = None
    holds: list[dict[str, Any]] | None = None


class Facts(Struct, kw_only=True):
    """Everything that the checks look at. None means that nobody could tell from here.

    `remote` is an instance known by NURTURE_URL alone. `settings` and `record` are those of `inspection`.
    """

    where: str
    remote: bool = False
    pid: int | None = None
    leftovers: list[str] = []
    trouble: str | None = None
    speed: float = 1
    processes: dict[str, Process] = {}
    front: Front | None = None
    settings: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    bus: bus_state.BusState | None = None
    bus_trouble: str | None = None
    syncs: bool | None = None

    @property
    def live(self) -> bool | None:
        """Whether mails are real; None when nobody told."""
        if self.settings is not None:
            return not self.settings["sandbox"]
        mode = (self.front.health or {}).get("email") if self.front else None
        return None if mode is None else str(mode).startswith("LIVE")

    @property
    def any_live(self) -> bool:
        """Whether messages of some channel are known to be real."""
        telegram = (self.settings or {}).get("telegram", {}).get("mode", "")
        return bool(self.live) or telegram.startswith("LIVE")


def gather(data_dir: Path | None) -> Facts:
    """Look everywhere, also where something is broken. Raises Failure only for a data dir that cannot be read."""
    url = os.environ.get("NURTURE_URL")
    if data_dir is None and url:
        facts = Facts(where=url, remote=True)
        facts.front = _front(None)
        asyncio.run(_remote(facts))
        return facts
    data = DataDir(data_dir)
    facts = Facts(where=str(data.path))
    state = data.running()
    if state is None:
        facts.leftovers = list(data.leftovers())
        return facts
    facts.pid = state.pid.pid if state.pid else None
    try:
        status = control.ask(state.control, "status", seconds=30)
        told = control.ask(state.control, "inspect", seconds=30)
    except control.Unreachable as error:
        facts.trouble = str(error)
        return facts
    facts.speed = status["speed"]
    facts.settings, facts.record = told.get("settings"), told.get("record")
    asyncio.run(_local(facts, state, status))
    facts.front = _front(data_dir)
    return facts


async def _local(facts: Facts, state: State, status: dict[str, Any]) -> None:
    names = list(status["processes"])
    async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as client:
        reasons, seen, syncs = await asyncio.gather(
            asyncio.gather(*(_reasons(client, state.ports.get(name), status["processes"][name]) for name in names)),
            _bus(state.nats),
            _syncs(state.ports.get("nats-monitor")),
        )
    facts.processes = {
        name: Process(status["processes"][name]["state"], status["processes"][name]["stage"], *told)
        for name, told in zip(names, reasons, strict=True)
    }
    facts.bus, facts.bus_trouble = seen
    facts.syncs = syncs


async def _remote(facts: Facts) -> None:
    """What the environment names beside the gateway."""
    if os.environ.get("NATS_URL"):
        facts.bus, facts.bus_trouble = await _bus(os.environ["NATS_URL"])
    if os.environ.get("DATABASE_URL"):
        # Imported here: a look over REST alone needs no database driver.
        from nurture_local import inspection

        schema = os.environ.get("PUBLISH_SCHEMA") or "public"
        facts.record = await inspection.database(os.environ["DATABASE_URL"], os.environ.get("SECRET_KEY"), schema)


async def _reasons(client: httpx.AsyncClient, port: int | None, process: dict[str, Any]) -> tuple[list[str], list[str]]:
    if port is None or process["stage"] not in ("service", "gateway") or process["state"] == "stopped":
        return [], []
    try:
        told = (await client.get(f"http://{LOOPBACK}:{port}/health/ready")).json()
        return [str(reason) for reason in told["problems"]], [str(reason) for reason in told.get("held", [])]
    except httpx.HTTPError:
        return ["it does not answer"], []
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["it answers something else than its health"], []


async def _bus(url: str) -> tuple[bus_state.BusState | None, str | None]:
    try:
        return await bus_state.look(url), None
    except bus_state.BusSilent as error:
        return None, str(error)


async def _syncs(monitor: int | None) -> bool | None:
    if monitor is None:
        return None
    try:
        _, body = await http_get(monitor, "/varz")
        return nats.syncs(body)
    except (OSError, TimeoutError, msgspec.DecodeError):
        return None


def _front(data_dir: Path | None) -> Front:
    with Gateway.at(data_dir) as gateway:
        url = gateway.location.url
        try:
            health, ahead = gateway.get("/"), gateway.ahead()
        except Failure as failure:
            return Front(url, trouble=str(failure))
        health = health if isinstance(health, dict) and health.get("service") == "nurture" else None
        if health is None:
            return Front(url, trouble="something else than Nurture answers there")
        try:
            return Front(url, health=health, ahead=ahead, letters=_letters(gateway), holds=_holds(gateway))
        except Failure as failure:
            if failure.code == UNREACHABLE:
                return Front(url, trouble=str(failure), health=health)
            return Front(url, key_trouble=str(failure), health=health, ahead=ahead)


def _holds(gateway: Gateway) -> list[dict[str, Any]] | None:
    """What is held; None from a gateway that does not know the question."""
    try:
        told = gateway.get("/admin/api/nurture/holds")
    except Failure as failure:
        if failure.code == UNREACHABLE:
            raise
        return None
    return told if isinstance(told, list) else None


def _letters(gateway: Gateway) -> int:
    """Dead letters that nobody has replayed, among the newest."""
    waiting, seen, cursor = 0, 0, None
    while seen < _LETTERS_COUNTED:
        page = gateway.get("/admin/api/dead-letters", limit=_PAGE, cursor=cursor)
        waiting += sum(letter["replayed_at"] is None for letter in page["items"])
        seen, cursor = seen + len(page["items"]), page["next"]
        if not cursor:
            break
    return waiting
