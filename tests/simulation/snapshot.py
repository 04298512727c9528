"""The tables as the history that the checks of `nurture verify` read."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from nurture_local.verify.history import (
    Answer,
    Command,
    Contact,
    Delivery,
    EmailClaim,
    Ended,
    Enrolment,
    Event,
    Fallback,
    Letter,
    Page,
    Snapshot,
    StartJob,
    Suppression,
    TelegramClaim,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")


def snapshot(world: "World") -> Snapshot:
    rows, now = world.tables.rows, world.loop.now
    contents = world.tables.committed["controller.delivery_contents"]
    return Snapshot(
        taken_at=now,
        now=now,
        deliveries={row["id"]: _delivery(row, contents[row["id"]]) for row in rows("controller.deliveries")},
        enrolments={row["id"]: _made(Enrolment, row) for row in rows("controller.enrolments")},
        paused_types=frozenset(row["type"] for row in rows("controller.paused_types")),
        events=[_made(Event, {**row, **row["detail"]}) for row in rows("controller.delivery_events")],
        pages=[_made(Page, row) for row in rows("email.pages")],
        claims=[_claim(row) for row in rows("email.claims")],
        telegram_pages=[_made(Page, row) for row in rows("telegram.pages")],
        telegram_claims={row["delivery_id"]: _made(TelegramClaim, row) for row in rows("telegram.claims")},
        outbox=[_made(Letter, {**row, "room": room}) for room in world.statements for row in rows(f"{room}.outbox")],
        contacts=[_made(Contact, {**row, "consent_at": None}) for row in rows("gateway.contacts")],
        suppressions=[_made(Suppression, row) for row in rows("email.suppressions")],
        fallbacks=[_made(Fallback, {**row, "decision": ""}) for row in rows("controller.fallbacks")],
        commands={row["id"]: _command(row) for row in rows("gateway.commands")},
        answers={row["command_id"]: _answer(row) for row in rows("controller.command_results")},
        jobs={
            row["command_id"]: _made(StartJob, {**row, "people": len(row["user_ids"])})
            for row in rows("controller.start_jobs")
        },
        ledger=world.ledger.effects,
    )


def _made(kind: type[T], row: dict[str, Any]) -> T:
    return kind(**{name: row[name] for name in kind.__struct_fields__ if name in row})  # type: ignore[attr-defined]


def _delivery(row: dict[str, Any], content: dict[str, Any]) -> Delivery:
    frozen = {
        "address": content["address"], "expires_at": content["expires_at"], "decided": content["decision"]["decision"],
        "on_ambiguous": content["params"].get("on_ambiguous", "hold"),
    }  # fmt: skip
    return _made(Delivery, {**row, **frozen})


def _claim(row: dict[str, Any]) -> EmailClaim:
    results = {UUID(id): _made(Ended, one) for id, one in row["results"].items()}
    return _made(EmailClaim, {**row, "results": results})


def _command(row: dict[str, Any]) -> Command:
    # Business time never runs out on a command here.
    told = _told(row["result"] or {})
    return _made(Command, {**row, **told, "expires_at": row["created_at"] + timedelta(days=365)})


def _answer(row: dict[str, Any]) -> Answer:
    return _made(Answer, {**row, **_told(row["result"])})


def _told(result: dict[str, Any]) -> dict[str, Any]:
    enrolment = result.get("enrolment_id")
    return {"started": result.get("started"), "enrolment_id": enrolment and UUID(enrolment)}
