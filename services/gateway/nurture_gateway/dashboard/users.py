"""People: find them, add one, and everything about one person: what they want, how they answer, and why each message."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, QueryParameter

from nurture_gateway.api import imports, preferences, scores, telegram, users, verification, why
from nurture_gateway.api.access import TheRoom
from nurture_gateway.api.described import CursorText
from nurture_gateway.dashboard.forms import attempt, filled, read, stated
from nurture_gateway.dashboard.overview import type_choices
from nurture_gateway.dashboard.shown import Refused, done, page
from nurture_gateway.people import CHANNELS, PREFERRED_TIMES
from nurture_gateway.preferences import PERSONAL, PreferencesChange
from nurture_gateway.problems import field_errors
from nurture_gateway.room import Room

HOME = "/admin/dashboard/users"
SHOWN = 50
LINES_SHOWN = 200
AROUND_FILE = 64 * 1024
"""What a form adds to the file in it, bytes."""
NEW = ("first_name", "external_id", "email", "telegram_chat_id", "timezone")


async def _list(
    request: Request[Any, Any, Any],
    room: Room,
    q: str | None = None,
    cursor: str | None = None,
    refused: Refused | None = None,
) -> Response[Any]:
    found = await users.list_people.fn(room, cursor, SHOWN, q)
    return await page(request, room, "users", "users.html", refused, q=q or "", cursor=cursor, people=found)


@get("/users", include_in_schema=False)
async def show_users(
    request: Request[Any, Any, Any],
    room: TheRoom,
    q: Annotated[str | None, QueryParameter(required=False, max_length=200)] = None,
    cursor: CursorText = None,
) -> Response[Any]:
    """People, newest first, or those whose name, address or external id begins so."""
    return await _list(request, room, (q or "").strip() or None, cursor)


@post("/users", include_in_schema=False)
async def add_user(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/users does."""
    values = await filled(request)

    async def work() -> Any:
        return await users.upsert_person.fn(request, room, read(users.PersonUpsert, stated(values, *NEW)))

    told = await attempt(request, "person", values, work)
    if isinstance(told, Refused):
        return await _list(request, room, refused=told)
    return done(room, f"{HOME}/{told['id']}", f"{told['first_name']} is saved.")


@post("/users/import", include_in_schema=False, request_max_body_size=imports.LARGEST + AROUND_FILE)
async def import_file(request: Request[Any, Any, Any], room: TheRoom) -> Response[Any]:
    """What POST /admin/api/users/import does. It bears no key: the same file again changes nothing."""
    file = (await request.form()).get("file")
    name = file.filename if isinstance(file, UploadFile) else ""

    async def work() -> Any:
        if not isinstance(file, UploadFile) or not name:
            raise field_errors([("file", "choose a CSV file")])
        return await imports.bring_in(request, room, await file.read())

    told = await attempt(request, "import", {}, work)
    if isinstance(told, Refused):
        return await _list(request, room, refused=told)
    return await page(
        request, room, "users", "imported.html", file=name, told=told, rejected=told["rejected"][:LINES_SHOWN]
    )


async def person_page(
    request: Request[Any, Any, Any], room: Room, ref: str, refused: Refused | None = None
) -> Response[Any]:
    """Everything about one person. Raises Problem 404."""
    person = await users.show_person.fn(room, ref)
    told = await why.why.fn(room, ref)
    return await page(
        request,
        room,
        "users",
        "person.html",
        refused,
        person=person,
        why=told,
        wishes=await preferences.show_preferences.fn(room, ref),
        user=person["external_id"] or str(person["id"]),
        scores=(await scores.show_scores.fn(room, ref)).scores,
        types=await type_choices(room),
        times=PREFERRED_TIMES,
        home=f"{HOME}/{person['id']}",
        real=room.clock.real(),
    )


@get("/users/{ref:str}", include_in_schema=False)
async def show_user(request: Request[Any, Any, Any], room: TheRoom, ref: FromPath[str]) -> Response[Any]:
    """The page of a person."""
    return await person_page(request, room, ref)


@post("/users/{ref:str}/preferences", include_in_schema=False)
async def set_preferences(request: Request[Any, Any, Any], room: TheRoom, ref: FromPath[str]) -> Response[Any]:
    """What PATCH /admin/api/users/{ref}/preferences does; an empty field gives back the default."""
    values = await filled(request)

    async def work() -> Any:
        said: dict[str, Any] = {name: values[name] or None for name in PERSONAL if name in values}
        wanted = said | {channel: wish for channel in CHANNELS if (wish := _wish(values, channel))}
        return await preferences.change_preferences.fn(request, room, ref, read(PreferencesChange, wanted))

    told = await attempt(request, "preferences", values, work)
    if isinstance(told, Refused):
        return await person_page(request, room, ref, told)
    return done(room, f"{HOME}/{told['user_id']}", "Preferences saved.")


def _wish(values: dict[str, str], channel: str) -> dict[str, Any]:
    """What the form says of a channel. A refusal takes nothing beside it; one that is taken back leaves wishes as they were."""
    was, consent = values.get(f"{channel}_was"), values.get(f"{channel}_consent")
    if was is None or was == consent == "refused":
        return {}
    if was != consent:
        return {"consent": consent}
    return {f"opt_in_{kind}": f"{channel}_{kind}" in values for kind in ("sequences", "announcements")}


@post("/users/{ref:str}/verification", include_in_schema=False)
async def verify_address(request: Request[Any, Any, Any], room: TheRoom, ref: FromPath[str]) -> Response[Any]:
    """What POST /admin/api/users/{ref}/verification does."""

    async def work() -> Any:
        return await verification.send_verification.fn(request, room, ref)

    told = await attempt(request, "verification", await filled(request), work)
    if isinstance(told, Refused):
        return await person_page(request, room, ref, told)
    return done(room, f"{HOME}/{told['user_id']}", f"A mail to {told['email_address']} asks whether it is theirs.")


@post("/users/{ref:str}/telegram-link", include_in_schema=False)
async def link_chat(request: Request[Any, Any, Any], room: TheRoom, ref: FromPath[str]) -> Response[Any]:
    """What POST /admin/api/users/{ref}/telegram-link does."""

    async def work() -> Any:
        return await telegram.make_link.fn(request, room, ref)

    told = await attempt(request, "chat", await filled(request), work)
    if isinstance(told, Refused):
        return await person_page(request, room, ref, told)
    # Shown once, on this page only: whoever has it gets this person's messages.
    person = await users.show_person.fn(room, ref)
    return await page(request, room, "users", "chat_link.html", person=person, link=told)
