"""All routes of the dashboard. What is under its path is guarded as a whole: a new page cannot forget it."""

from typing import Any

from litestar import Router
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from nurture_gateway.dashboard import (
    analytics,
    deliveries,
    email,
    overview,
    sequences,
    signing_in,
    simulation,
    streams,
    suppressions,
    users,
)
from nurture_gateway.dashboard.access import Doorkeeper


def routes(door: Doorkeeper) -> list[Any]:
    """Signing in, for everybody; the pages, for those who have."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        # A function and not a method: Litestar copies its handlers deeply, and a method's object with them.
        await door.check(connection)

    pages = Router(
        "/admin/dashboard",
        guards=[guard],
        route_handlers=[
            overview.show_overview, streams.overview_stream, signing_in.sign_out,
            sequences.show_sequences, sequences.trigger, sequences.cancel, sequences.pause, sequences.resume,
            simulation.ask, simulation.show_simulation, streams.sequences_stream,
            email.show_email, email.send_test, email.process, email.clear_failed, email.retry, streams.email_stream,
            suppressions.show_suppressions, suppressions.close_address, suppressions.lift_suppression,
            users.show_users, users.add_user, users.import_file, users.show_user, users.set_preferences, users.verify_address,
            users.link_chat, deliveries.show_delivery, deliveries.resend, analytics.show_analytics,
        ],
    )  # fmt: skip
    return [signing_in.show_sign_in, signing_in.sign_in, signing_in.follow_link, pages]
