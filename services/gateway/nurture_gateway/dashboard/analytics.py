"""Analytics: what became of messages, by day, sequence, step, variant and channel."""

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.params import QueryParameter

from nurture_gateway import numbers, variants
from nurture_gateway.api import numbers as numbers_api
from nurture_gateway.api.access import TheRoom
from nurture_gateway.dashboard import charts
from nurture_gateway.dashboard.shown import page

STRETCHES = (7, 30, 90, 365)
DAYS = Annotated[int, QueryParameter(name="days", required=False, ge=1, le=numbers.LONGEST_DAYS)]
ENGAGED = {"delivered": "leaf", "opened": "blue", "clicked": "plum"}
"""What a chart shows, each in its colour."""
GONE_WRONG = {"bounced": "bad", "failed": "warm", "complained": "plum"}

SCORES = {"overall": "leaf", "email": "blue", "telegram": "plum"}


def by_day(days: list[numbers.OfDay], shown: dict[str, str], title: str) -> Any:
    """A chart of these counts."""
    series = [charts.Series(name, tone, [getattr(day, name) for day in days]) for name, tone in shown.items()]
    return charts.lines([day.day for day in days], series, title)


def scores_by_day(told: numbers.Analytics) -> Any:
    """A chart of the mean scores; None where nobody has had one."""
    if not told.scores:
        return None
    days = [day.day for day in told.by_day]
    means = {(one.day, one.score_type): one.mean for one in told.scores}
    series = [charts.Series(kind, tone, [means.get((day, kind)) for day in days]) for kind, tone in SCORES.items()]
    return charts.lines(days, series, f"Mean engagement scores of {told.days} days", top=100)


def span(arm: variants.Arm, arms: list[variants.Arm]) -> Any:
    """An arm's interval, on one scale with the others'."""
    return charts.interval(arm.low or 0.0, arm.rate or 0.0, arm.high or 0.0, max(one.high or 0.0 for one in arms))


@get("/analytics", include_in_schema=False)
async def show_analytics(request: Request[Any, Any, Any], room: TheRoom, days: DAYS = 30) -> Response[Any]:
    """The page."""
    told = await numbers_api.show_analytics.fn(room, days)
    return await page(
        request,
        room,
        "analytics",
        "analytics.html",
        told=told,
        days=days,
        stretches=sorted({*STRETCHES, days}),
        engaged=by_day(told.by_day, ENGAGED, f"Delivered, opened and clicked messages of {days} days"),
        wrong=by_day(told.by_day, GONE_WRONG, f"Bounced and failed messages and complaints of {days} days"),
        scores=scores_by_day(told),
        score_names=SCORES,
        rates=numbers.rates,
        names=(ENGAGED, GONE_WRONG),
        comparisons=await variants.every_comparison(room.database),
        span=span,
    )
