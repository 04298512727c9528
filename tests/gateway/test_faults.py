"""What the gateway promises when something else is away: an honest answer, nothing lost, nothing twice."""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
from gateway_stand import TOKENS, Controller, Gateway, Servers, eventually
from nurture_gateway.inbound import Closed, Gate
from nurture_local.ports import free_port
from nurture_local.servers import stop
from test_health_and_pages import problem

HITS = "select count(*) from gateway.inbound_pages, jsonb_array_elements(items) i where i->>'delivery_id' = $1"


@contextlib.contextmanager
def unstorable(servers: Servers) -> Iterator[None]:
    """Nothing that arrives can be written."""
    servers.sql("revoke insert on gateway.inbound_pages from nurture_gateway")
    try:
        yield
    finally:
        servers.sql("grant insert on gateway.inbound_pages to nurture_gateway")


def test_a_webhook_that_cannot_be_stored_is_503_and_comes_again(gateway: Gateway) -> None:
    event = {"type": "email.sent", "data": {"email_id": f"re_{uuid4().hex}"}}
    with unstorable(gateway.servers):
        answer = gateway.webhook(event)
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
    assert gateway.webhook(event).status_code == 200


def test_a_redirect_works_while_hits_cannot_be_stored_and_no_hit_is_lost(gateway: Gateway) -> None:
    delivery, url = uuid4(), f"https://example.org/{uuid4().hex}"
    token = TOKENS.click_token(delivery, gateway.servers.link(url))
    with unstorable(gateway.servers):
        assert gateway.anonymous.get(f"/t/c/{token}").headers["location"] == url
        assert gateway.anonymous.get(f"/t/o/{TOKENS.open_token(delivery)}").status_code == 200
        assert gateway.servers.sql(HITS, str(delivery))[0][0] == 0, "it did not wait until they were"
        with eventually() as until:
            until(lambda: "inbound.not_stored" in gateway.log.read_text())
    with eventually() as until:
        until(lambda: gateway.servers.sql(HITS, str(delivery))[0][0] == 2)


def test_hits_of_the_last_moment_are_stored_before_the_process_ends(servers: Servers) -> None:
    with ExitStack() as stack:
        passing = Gateway(servers, stack, "passing")
        deliveries = [uuid4() for _ in range(20)]
        for delivery in deliveries:
            passing.anonymous.get(f"/t/o/{TOKENS.open_token(delivery)}")
        assert stop(passing.process) == 0
        assert sum(servers.sql(HITS, str(delivery))[0][0] for delivery in deliveries) == 20


def test_without_a_bus_a_command_is_taken_and_stays_in_the_outbox(servers: Servers) -> None:
    with ExitStack() as stack:
        bus = stack.enter_context(ExitStack())
        own = Servers.beside(servers, bus)
        alone = Gateway(own, stack, "alone")
        person = alone.person()
        bus.close()
        answer = alone.post("/admin/api/nurture/trigger", {"user_id": person["id"], "sequence_type": "onboarding"})
        assert answer.status_code == 202
        rows = servers.sql(
            "select payload from gateway.outbox where subject = 'nurture.cmd.controller.start_sequences' and published_at is null"
        )
        assert answer.json()["command_id"] in {json.loads(row["payload"])["command_id"] for row in rows}
        assert alone.webhook({"type": "email.sent"}).status_code == 200
        with eventually() as until:
            until(lambda: alone.anonymous.get("/health/ready").status_code == 503)
        assert alone.anonymous.get("/").json()["status"] == "degraded"
        # A balancer goes on sending requests here.
        assert alone.anonymous.get("/health/serving").json() == {"status": "serving", "problems": []}


def test_two_gateways_answer_for_each_other(gateway: Gateway, servers: Servers, controller: Controller) -> None:
    with ExitStack() as stack:
        other = Gateway(servers, stack, "other")
        person, key = gateway.person(), uuid4().hex
        body = {"user_id": person["id"], "sequence_type": "onboarding"}
        first = gateway.post("/admin/api/nurture/trigger", body, key=key)
        assert first.status_code == 202
        controller.settle(first.json()["command_id"], 201, {"enrolment_id": str(uuid4()), "user_id": person["id"]})
        answers = [replica.post("/admin/api/nurture/trigger", body, key=key) for replica in (other, gateway, other)]
        assert {answer.status_code for answer in answers} == {201} and len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize("failures", [0, 1])
def test_a_gate_stores_each_item_once_and_pages_what_came_together(failures: int) -> None:
    pages: list[list[int]] = []

    async def run() -> None:
        left = failures

        async def store(items: list[int]) -> None:
            nonlocal left
            await asyncio.sleep(0)
            if left:
                left -= 1
                raise OSError("away")
            pages.append(items)

        gate: Gate[int] = Gate("test", store)
        results = await asyncio.gather(*(gate.put(number) for number in range(450)), return_exceptions=True)
        refused = [number for number, result in enumerate(results) if result is not None]
        assert len(refused) == 200 * failures
        gate.drop_in(1000)
        await gate.close()
        with pytest.raises(Closed):
            gate.drop_in(1)
        stored = [item for page in pages for item in page]
        assert sorted(stored) == [*(number for number in range(450) if number not in refused), 1000]
        assert max(len(page) for page in pages) <= 200 and len(pages) <= 4

    asyncio.run(run())


def test_before_the_database_is_there_people_see_a_page_that_asks_again_and_programs_a_problem(
    servers: Servers,
) -> None:
    with ExitStack() as stack:
        nowhere = f"postgresql://nurture_gateway:p@127.0.0.1:{free_port()}/none"
        waiting = Gateway(servers, stack, "waiting", ready="/health/live", DATABASE_URL=nowhere)
        html = {"Accept": "text/html"}
        for path in ("/admin/dashboard", "/admin/sign-in"):
            page = waiting.anonymous.get(path, headers=html)
            assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
            assert page.headers["retry-after"] and page.headers["content-security-policy"]
            assert 'http-equiv="refresh"' in page.text and "waits for its database" in page.text
        # Its looks are there, and a form is never sent again by itself.
        style = re.search(r'href="(/static/[^"]+)"', page.text)
        assert style and waiting.anonymous.get(style[1]).status_code == 200
        form = waiting.anonymous.post("/admin/sign-in", headers=html, data={"api_key": "x"})
        assert form.status_code == 503 and "refresh" not in form.text
        problem(waiting.anonymous.get("/admin/dashboard", headers={"Accept": "application/json"}), 503, "unavailable")
        problem(waiting.http.get("/admin/api/users"), 503, "unavailable")
