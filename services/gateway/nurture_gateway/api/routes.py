"""All routes in one application."""

from typing import Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag

from nurture_gateway.api import (
    commands,
    dead_letters,
    deliveries,
    docs,
    events,
    holds,
    home,
    imports,
    numbers,
    nurture,
    operations,
    preference_page,
    preferences,
    query,
    reports,
    scores,
    sequences,
    sign_in,
    simulate,
    suppressions,
    telegram,
    test_emails,
    tracking,
    users,
    verification,
    webhook,
    why,
)
from nurture_gateway.api.access import Keyring
from nurture_gateway.dashboard import pages
from nurture_gateway.dashboard.access import Doorkeeper
from nurture_gateway.errors import HANDLERS
from nurture_gateway.room import Room

LARGEST = 1024 * 1024
_ABOUT = """Message sequences over email and Telegram. People are named by `id` or by your own `external_id`.

Every POST and PATCH takes an `Idempotency-Key`. Every error is `application/problem+json` with a `hint`.

Lists are paged by cursor."""


def application(room: Room) -> Litestar:
    """The REST application; everything under /admin/api but the provider's webhook needs the key."""
    keyring = Keyring(room.config, room.rates)
    admin = Router(
        "/admin/api",
        guards=[keyring.guard, room.rates.guard, query.guard],
        security=[{"key": []}],
        route_handlers=[
            nurture.trigger, nurture.cancel, nurture.active, holds.pause, holds.resume, holds.list_holds,
            operations.process_due, simulate.simulate, numbers.show_metrics, numbers.show_analytics,
            numbers.show_variants,
            commands.list_commands, commands.show_command,
            users.upsert_person, users.list_people, users.show_person, users.change_person, imports.import_people,
            sequences.list_sequences, sequences.show_sequence, sequences.lint_sequence, sequences.publish_sequence,
            sequences.pause_sequence, sequences.resume_sequence, why.why,
            events.take_events, scores.show_scores,
            deliveries.list_deliveries, deliveries.summarise_deliveries, deliveries.count_doubts, deliveries.show_delivery,
            operations.resend_delivery,
            numbers.show_email_stats, numbers.show_email_queue, operations.process_queue, operations.clear_email_queue,
            operations.retry_email_queue, reports.take_report,
            suppressions.list_suppressions, suppressions.close_address, suppressions.lift_suppression,
            preferences.show_preferences, preferences.change_preferences, verification.send_verification,
            test_emails.send_test, test_emails.show_test, dead_letters.list_dead_letters, dead_letters.replay_dead_letter,
            telegram.pass_on_updates, telegram.make_link, sign_in.make_sign_in_link,
        ],
    )  # fmt: skip

    door = Doorkeeper(room.config, room.sessions)

    def the_door() -> Doorkeeper:
        return door

    def the_room() -> Room:
        return room

    def the_keyring() -> Keyring:
        return keyring

    dependencies: dict[str, Any] = {
        "room": Provide(the_room, sync_to_thread=False, use_cache=True),
        "door": Provide(the_door, sync_to_thread=False, use_cache=True),
        "keyring": Provide(the_keyring, sync_to_thread=False, use_cache=True),
    }
    return Litestar(
        [
            admin, webhook.take_webhook, telegram.take_update,
            tracking.pixel, tracking.click, tracking.show_unsubscribe, tracking.unsubscribe,
            verification.show_verification, verification.verify,
            preference_page.show_page, preference_page.save_page,
            home.home, home.asset, docs.openapi, docs.docs, *pages.routes(door),
        ],
        dependencies=dependencies,
        exception_handlers=HANDLERS,
        request_max_body_size=LARGEST,
        logging_config=None,
        debug=False,
        openapi_config=OpenAPIConfig(
            title="Nurture",
            version="1",
            description=_ABOUT,
            use_handler_docstrings=True,
            # The stock pages load scripts from elsewhere; ours at /docs do not.
            render_plugins=[JsonRenderPlugin()],
            components=Components(
                security_schemes={"key": SecurityScheme(type="http", scheme="bearer", description="ADMIN_API_KEY")}
            ),
            tags=[
                Tag("Sequences in motion", "Start, cancel, pause, watch"),
                Tag("People", "Who is written to"),
                Tag("Sequences", "What is written"),
                Tag("Deliveries", "What was sent and what came of it"),
                Tag("Email", "Test mails and provider events"),
                Tag("Telegram", "Linking chats, and updates of the bot"),
                Tag("Dashboard", "Signing in"),
                Tag("Health", "Whether it works"),
            ],
        ),
    )  # fmt: skip
