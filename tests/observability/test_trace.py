"""One trace id at every hop: the REST call, its command, the bus, each service's log and spans, webhook, click, score."""

import json
import re
import secrets
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.journeys.system import System, eventually
from tests.journeys.test_bus import Bare
from tests.observability.conftest import Watched

pytestmark = pytest.mark.xdist_group("watched")
ROOMS = ("gateway", "controller", "email", "telegram", "scoring")
"""Telegram hears of the click as well, and leaves it to email."""
ON_THE_BUS = (
    "nurture.cmd.controller.start_sequences",
    "nurture.cmd.email.send_emails",
    "nurture.evt.controller.command_settled",
    "nurture.evt.email.settled",
    "nurture.evt.gateway.email_webhooks_received",
    "nurture.evt.gateway.tracking_hit",
    "nurture.evt.email.observed",
)


class Story:
    """Somebody is triggered by a caller who has a trace, gets a mail, and clicks in it."""

    def __init__(self, system: System) -> None:
        name = f"traced-{uuid4().hex[:8]}"
        self.email = f"{name}@example.test"
        user = system.person(name, email=self.email, timezone="UTC")
        self.trace, self.span = secrets.token_hex(16), secrets.token_hex(8)
        headers = {"traceparent": f"00-{self.trace}-{self.span}-01"}
        self.answer = system.post(
            "/admin/api/nurture/trigger", {"user_id": user, "sequence_type": "onboarding"}, headers=headers
        )
        assert self.answer.status_code in (201, 202), self.answer.text
        self.command = self.answer.headers["location"].rpartition("/")[2]
        system.settled(self.command)
        mail = eventually(lambda: system.messages(to=self.email), what="the mail")[0]
        self.delivery = mail["delivery_id"]
        self.link = re.findall(r'href="([^"]+/t/c/[^"]+)"', mail["html"])[0]
        assert httpx.get(self.link, timeout=30).status_code in (302, 303, 307)
        eventually(
            lambda: {row["kind"] for row in system.rows(
                "select kind from delivery_events where delivery_id = $1::text::uuid", self.delivery
            )} >= {"sent", "delivered", "clicked"},
            what="what became of it",
        )  # fmt: skip


@pytest.fixture(scope="module")
def heard(watched: Watched) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    return []


@pytest.fixture(scope="module")
def story(watched: Watched, heard: list[tuple[str, dict[str, str], dict[str, Any]]]) -> Story:
    client = Bare(watched.system.status()["nats"])
    try:
        client.send("SUB nurture.> 1")
        made = Story(watched.system)
        wanted = set(ON_THE_BUS)
        while wanted:
            subject, headers, body = client.message()
            if subject.startswith("nurture."):
                heard.append((subject, headers, json.loads(body)))
                if headers.get("traceparent", "").split("-")[1:2] == [made.trace]:
                    wanted.discard(subject)
    finally:
        client.close()
    return made


def test_the_answer_and_the_rows_bear_the_callers_trace(watched: Watched, story: Story) -> None:
    version, trace, span, _ = story.answer.headers["traceresponse"].split("-")
    assert (version, trace) == ("00", story.trace) and span != story.span
    assert story.answer.headers["x-request-id"] == story.trace
    api = watched.system.api
    assert api.get(f"/admin/api/commands/{story.command}").json()["trace_id"] == story.trace
    assert api.get(f"/admin/api/deliveries/{story.delivery}").json()["delivery"]["trace_id"] == story.trace


def test_every_message_bears_it(story: Story, heard: list[tuple[str, dict[str, str], dict[str, Any]]]) -> None:
    # The fixture has waited for each of them; here is that none of this delivery's bears another.
    for subject, headers, body in heard:
        if story.delivery in json.dumps(body):
            assert headers["traceparent"].split("-")[1] == story.trace, subject
    assert {subject for subject, _, body in heard if story.delivery in json.dumps(body)} >= set(ON_THE_BUS) - {
        "nurture.cmd.controller.start_sequences"
    }


def test_every_service_logs_it(watched: Watched, story: Story) -> None:
    wanted = {
        "gateway": {"command.stored", "inbound.stored", "bus.handled", "trigger"},
        "controller": {"bus.handled"},
        "email": {"bus.handled", "email.call"},
        "telegram": {"bus.handled"},
        "scoring": {"bus.handled"},
    }
    for room, events in wanted.items():

        def found(room: str = room, events: set[str] = events) -> bool:
            return events <= {line["event"] for line in watched.logged(room) if line.get("trace_id") == story.trace}

        eventually(found, what=f"{events} in the log of {room}")


def test_spans_of_all_services_hang_together(watched: Watched, story: Story) -> None:
    def complete() -> bool:
        spans = watched.spans.of(story.trace)
        names = Counter(span.service for span in spans)
        clicked = any(span.name.startswith("process nurture.evt.gateway.tracking_hit") for span in spans)
        return set(names) == set(ROOMS) and clicked and _dangling(spans) == {story.span}

    eventually(complete, what="the whole trace", within=30)
    spans = watched.spans.of(story.trace)
    by_id = {span.span_id: span for span in spans}
    (first,) = [span for span in spans if span.parent_id == story.span]
    assert (first.service, first.name) == ("gateway", "POST /admin/api/nurture/trigger")

    def path(span: Any) -> list[str]:
        up = by_id.get(span.parent_id)
        return [*path(up), f"{span.service}: {span.name}"] if up else [f"{span.service}: {span.name}"]

    scored = [span for span in spans if span.service == "scoring"]
    assert scored
    # From the score back to the call: each span's parent is there.
    assert all(path(span)[0] == "gateway: POST /admin/api/nurture/trigger" for span in spans)
    call = next(span for span in spans if span.name == "send email")
    assert path(call) == [
        "gateway: POST /admin/api/nurture/trigger",
        "gateway: send nurture.cmd.controller.start_sequences",
        "controller: process nurture.cmd.controller.start_sequences",
        "email: send email",
    ]


def _dangling(spans: list[Any]) -> set[str]:
    known = {span.span_id for span in spans}
    return {span.parent_id for span in spans if span.parent_id not in known}


def test_a_page_of_many_origins_names_them_all(watched: Watched) -> None:
    """Steps of people who were started one by one come due together: the page has a trace of its own, with links."""
    system = watched.system
    system.chaos(latency_ms=400)
    try:
        traces = {}
        for n in range(6):
            user = system.person(
                f"linked-{uuid4().hex[:8]}", email=f"linked-{n}-{uuid4().hex[:6]}@example.test", timezone="UTC"
            )
            trace = secrets.token_hex(16)
            answer = system.post(
                "/admin/api/nurture/trigger", {"user_id": user, "sequence_type": "onboarding"},
                headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"},
            )  # fmt: skip
            traces[trace] = answer
    finally:
        system.chaos(latency_ms=0)

    def found() -> bool:
        lines = [line for line in watched.logged("email") if line["event"] == "email.call"]
        told = {line["trace_id"] for line in lines} | {link for line in lines for link in line.get("links", ())}
        return set(traces) <= told

    eventually(found, what="each trace at the call that sent it")
    calls = [span for span in list(watched.spans._spans) if span.name == "send email" and len(span.links) > 1]
    for call in calls:
        assert call.trace_id not in traces and not call.parent_id


def test_no_secret_is_in_a_span(watched: Watched, story: Story) -> None:
    secrets_file = json.loads((watched.system.data_dir / "secrets.json").read_text())
    known = [value for value in secrets_file.values() if isinstance(value, str) and len(value) > 8]
    assert known
    sent = b"".join(watched.spans.bodies)
    for value in (*known, story.email, story.link.rpartition("/")[2]):
        assert value.encode() not in sent
