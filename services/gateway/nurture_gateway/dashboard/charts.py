"""Charts as SVG, drawn here: nothing to load, readable without a script, the same in print. Pure."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 440, 170
LEFT, RIGHT, TOP, BOTTOM = 40, 8, 8, 22


def nice_top(highest: float) -> int:
    """The end of an axis: a round number, at least `highest`, that can be halved."""
    size = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if step * size >= highest:
                return step * size
        size *= 10


class Series(NamedTuple):
    """Numbers by day (None: there is none), what they are, and the colour's name in the stylesheet."""

    name: str
    tone: str
    values: Sequence[float | None]


def lines(days: Sequence[date], series: Sequence[Series], title: str, top: int | None = None) -> Markup:
    """A line for each series. `title` says what the chart shows to those who do not see it; `top` ends the axis."""
    top = top or nice_top(max((value for one in series for value in one.values if value is not None), default=1))
    step = (WIDTH - LEFT - RIGHT) / max(len(days) - 1, 1)

    def x(n: int) -> float:
        return LEFT + (n * step if len(days) > 1 else (WIDTH - LEFT - RIGHT) / 2)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)

    parts = [_axis(y(value), value) for value in (0, top // 2, top)]
    parts += [
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
            round(x(n), 1), HEIGHT - 6, anchor, f"{days[n]:%b} {days[n].day}"
        )
        for n, anchor in _ticks(len(days))
    ]
    for name, tone, values in series:
        known = [(n, value) for n, value in enumerate(values) if value is not None]
        points = " ".join(f"{x(n):.1f},{y(value):.1f}" for n, value in known)
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(tone, points))
        parts += [
            Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
                tone, f"{x(n):.1f}", f"{y(value):.1f}", 3 if len(days) <= 31 else 2, f"{days[n]}: {value:g} {name}"
            )
            for n, value in known
        ]
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(parts)
    )


SPAN_WIDTH, SPAN_HEIGHT, EDGE = 160, 14, 4


def interval(low: float, middle: float, high: float, top: float) -> Markup:
    """A rate as a dot on the line of its interval, from 0 to `top`. Decoration: the numbers stand beside it."""

    def x(value: float, aside: float = 0) -> str:
        return f"{EDGE + aside + (SPAN_WIDTH - 2 * EDGE) * value / top:.1f}"

    y = SPAN_HEIGHT / 2
    return Markup(
        '<svg class="span leaf" viewBox="0 0 {} {}" aria-hidden="true"><line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<line x1="{}" x2="{}" y1="{}" y2="{}"/><rect x="{}" y="{}" width="8" height="8" rx="4"/></svg>'
    ).format(SPAN_WIDTH, SPAN_HEIGHT, EDGE, SPAN_WIDTH - EDGE, y, y, x(low), x(high), y, y, x(middle, -EDGE), y - EDGE)


def _axis(y: float, value: int) -> Markup:
    line = Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, WIDTH - RIGHT, y, y)
    label = f"{value / 1000:g}k" if value >= 10_000 else str(value)
    return line + Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(LEFT - 6, y + 4, label)


def _ticks(days: int) -> list[tuple[int, str]]:
    """Which days are named, and how their names stand to the point."""
    if days < 2:
        return [(0, "middle")] if days else []
    return [(0, "start"), *([((days - 1) // 2, "middle")] if days > 4 else []), (days - 1, "end")]
