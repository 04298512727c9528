"""Traces: what is taken for one, which one a page belongs to, and that ticks share none."""

import asyncio
import json

import pytest
import structlog
from nurture_chassis import trace
from nurture_chassis.logs import add_trace
from nurture_chassis.ticker import Ticker

ONE = f"00-{'a' * 32}-{'1' * 16}-01"
SAME = f"00-{'a' * 32}-{'2' * 16}-01"
OTHER = f"00-{'b' * 32}-{'3' * 16}-01"


@pytest.fixture(autouse=True)
def _nothing_before() -> None:
    trace.forget()


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        "00",
        ONE.upper(),
        f"01{ONE[2:]}",
        f"00-{'0' * 32}-{'1' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        ONE + "-x",
    ],
)
def test_what_is_no_traceparent_is_not_followed(text: str | None) -> None:
    assert trace.parse(text) is None
    begun = trace.follow(text)
    assert len(begun) == 32 and int(begun, 16) > 0 and begun != "a" * 32


def test_a_caller_without_recording_stays_the_parent() -> None:
    with trace.span("work", "consumer", trace.of_headers({trace.HEADER: ONE})):
        assert trace.traceparent() == ONE


def test_a_page_of_one_origin_belongs_to_it() -> None:
    assert str(trace.about([ONE, None, SAME, "nonsense"])) == ONE
    with trace.span("work", "internal", trace.Trace("a" * 32, "9" * 16)):
        # What is done now is nearer than what was kept.
        assert trace.about([ONE]).span_id == "9" * 16
        assert trace.about([]).trace_id == "a" * 32
        assert trace.about([OTHER]).trace_id == "b" * 32


def test_a_page_of_many_origins_has_a_trace_of_its_own_and_names_them() -> None:
    page = trace.about([ONE, OTHER, SAME])
    assert page.root and page.trace_id not in ("a" * 32, "b" * 32)
    assert page.links == (ONE, OTHER)
    heard = trace.of_headers(trace.headers_of(page))
    assert (heard.trace_id, heard.links) == (page.trace_id, page.links)


def test_links_are_bounded_and_nonsense_among_them_is_dropped() -> None:
    many = [f"00-{n:032x}-{'1' * 16}-01" for n in range(1, 500)]
    assert len(trace.about(many).links) == trace.MOST_LINKS
    headers = {trace.HEADER: ONE, trace.LINKS: ",".join(["nonsense", OTHER, *many])}
    links = trace.of_headers(headers).links
    assert links[0] == OTHER and len(links) < trace.MOST_LINKS


def test_a_log_line_names_its_trace_and_the_others() -> None:
    lines: list[str] = []
    log = structlog.wrap_logger(
        structlog.PrintLogger(), processors=[add_trace, structlog.processors.JSONRenderer(), _into(lines)]
    )
    log.info("before")
    with trace.span("work", "consumer", trace.about([ONE, OTHER])) as work:
        log.info("inside")
    log.info("after")
    before, inside, after = map(json.loads, lines)
    assert "trace_id" not in before and "trace_id" not in after
    assert inside["trace_id"] == work.trace.trace_id
    assert inside["links"] == ["a" * 32, "b" * 32]


def _into(lines: list[str]):
    def keep(_logger: object, _method: str, line: str) -> str:
        lines.append(line)
        raise structlog.DropEvent

    return keep


def test_ticks_share_no_trace() -> None:
    seen: list[str] = []

    async def whole() -> None:
        enough = asyncio.Event()

        async def tick() -> bool:
            seen.append(trace.current().trace_id)
            if len(seen) == 3:
                enough.set()
            return len(seen) < 3

        ticker = Ticker("test", tick, every=60)
        ticker.start()
        await asyncio.wait_for(enough.wait(), 10)
        await ticker.stop()

    asyncio.run(whole())
    assert len(set(seen)) == len(seen) >= 3
