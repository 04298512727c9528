"""What a person wants: channel, time, and which mail. Consent is a person's word; what they want of it is a setting beside it."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType
from nurture_chassis.database import Rows
from nurture_chassis.outbox import Saying

from nurture_gateway.people import check
from nurture_gateway.problems import Problem, field_errors
from nurture_gateway.store import write_people

PERSONAL = ("preferred_channel", "preferred_time", "timezone")


class ChannelPreferences(Struct, kw_only=True):
    """A channel as the person wants it. `opt_in_…` are false while consent is refused. `is_verified`: the person has shown
    that the address is theirs, by a link in a mail or by linking a chat."""

    address: str | None
    state: str
    reason: str | None
    consent: str
    opt_in_sequences: bool
    opt_in_announcements: bool
    is_verified: bool
    verified_at: datetime | None
    verification_sent_at: datetime | None
    unsubscribed_at: datetime | None


class Preferences(Struct, kw_only=True):
    """A person's preferences; a channel is null while nothing is known of it."""

    user_id: UUID
    preferred_channel: str | None
    preferred_time: str
    timezone: str
    email: ChannelPreferences | None
    telegram: ChannelPreferences | None


class ChannelChange(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is left out stays. `consent` records the person's own word: `refused` sends nothing there any more, `granted` ends
    an unsubscription."""

    opt_in_sequences: bool | UnsetType = UNSET
    opt_in_announcements: bool | UnsetType = UNSET
    consent: Literal["granted", "refused"] | UnsetType = UNSET


class PreferencesChange(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is left out stays; null gives back the default."""

    preferred_channel: Literal["email", "telegram"] | UnsetType | None = UNSET
    preferred_time: str | UnsetType | None = UNSET
    timezone: str | UnsetType | None = UNSET
    email: ChannelChange | UnsetType = UNSET
    telegram: ChannelChange | UnsetType = UNSET


async def preferences(rows: Rows, user_id: UUID) -> Preferences:
    """What this person wants. Raises Problem 404."""
    person = await rows.fetchrow("show_person", user_id)
    if person is None:
        raise Problem("person_not_found", f"There is no person {str(user_id)!r}.")
    channels = {row["channel"]: _channel(row) for row in await rows.fetch("show_preferences", user_id)}
    return Preferences(
        user_id=user_id,
        **{name: person[name] for name in PERSONAL},
        email=channels.get("email"),
        telegram=channels.get("telegram"),
    )


async def change_preferences(tx: Saying, user_id: UUID, change: PreferencesChange, now: datetime) -> Preferences:
    """Change what is named and return all. Raises Problem 400, 404, or 409 where a refusal stands against it."""
    clean, errors = check({name: getattr(change, name) for name in PERSONAL if getattr(change, name) is not UNSET})
    if errors:
        raise field_errors(errors)
    await write_people(tx, [clean | {"id": user_id}], now)
    for channel in ("email", "telegram"):
        wanted = getattr(change, channel)
        if wanted is UNSET or wanted == ChannelChange():
            continue
        given = [None if value is UNSET else value for value in _values(wanted)]
        row = await tx.fetchrow("change_preferences", user_id, channel, *given, now)
        assert row is not None
        if row["consent"] == "refused" and True in given:
            raise Problem(
                "consent_refused",
                f"The person has refused {channel}.",
                errors=[{"field": channel, "reason": "is refused by the person"}],
            )
    return await preferences(tx, user_id)


def _values(wanted: ChannelChange) -> tuple[Any, ...]:
    return wanted.opt_in_sequences, wanted.opt_in_announcements, wanted.consent


def _channel(row: Any) -> ChannelPreferences:
    granted = row["consent"] == "granted"
    return ChannelPreferences(
        address=row["address"],
        state=row["state"],
        reason=row["reason"],
        consent=row["consent"],
        opt_in_sequences=granted and row["opt_in_sequences"],
        opt_in_announcements=granted and row["opt_in_announcements"],
        is_verified=row["verified_at"] is not None,
        verified_at=row["verified_at"],
        verification_sent_at=row["verification_sent_at"],
        unsubscribed_at=None if granted else row["consent_at"],
    )
