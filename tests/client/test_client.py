"""The client against a peer that drops, refuses and dawdles: one key for all attempts of a call, and no secret in a word."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nurture_client import Accepted, AsyncNurture, Enrolled, Nurture, Refused, Unavailable
from nurture_client.attempts import FIRST, LONGEST, wait_before

KEY = "the-secret-key-of-this-test"
ID = "0198b2f4-6c00-7000-8000-000000000001"
ENROLLED = {
    "command_id": ID, "enrolment_id": ID, "user_id": ID, "sequence_type": "onboarding", "version": 1, "step": 1,
    "channel": "email", "scheduled_at": "2026-01-05T09:00:00Z", "a_later_versions_member": True,
}  # fmt: skip
Script = list[tuple[int, Any, dict[str, str]] | None]


class Peer:
    """Answers by a script; None drops the connection. `seen` are the requests: (key, authorization, path, body)."""

    def __init__(self, port: int, seen: list[tuple[Any, ...]]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.seen = seen


@contextmanager
def peer(script: Script) -> Iterator[Peer]:
    seen: list[tuple[Any, ...]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.append((self.headers["Idempotency-Key"], self.headers["Authorization"], self.path, body))
            step = script[len(seen) - 1]
            if step is None:
                self.close_connection = True
                return
            status, content, headers = step
            sent = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Peer(server.server_port, seen)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def trigger(kind: type, url: str, **options: Any) -> Any:
    """`trigger` by either client."""
    if kind is Nurture:
        with Nurture(url, KEY, **options) as nurture:
            return nurture.trigger("u/17", "onboarding", context={"plan": "pro"}, channel="email")

    async def run() -> Any:
        async with AsyncNurture(url, KEY, **options) as nurture:
            return await nurture.trigger("u/17", "onboarding", context={"plan": "pro"}, channel="email")

    return asyncio.run(run())


both = pytest.mark.parametrize("kind", [Nurture, AsyncNurture])


@both
def test_what_may_be_repeated_is_repeated_under_one_key(kind: type) -> None:
    again = {"Retry-After": "0"}
    script: Script = [
        None,
        (503, {"code": "unavailable"}, again),
        (429, {}, again),
        (500, "?", {}),
        (201, ENROLLED, {}),
    ]
    with peer(script) as told:
        answer = trigger(kind, told.url)
    assert isinstance(answer, Enrolled) and str(answer.enrolment_id) == ID
    assert len({key for key, *_ in told.seen}) == 1 and len(told.seen) == 5
    _, authorization, path, body = told.seen[-1]
    assert (authorization, path) == (f"Bearer {KEY}", "/admin/api/nurture/trigger")
    assert json.loads(body) == {
        "user_id": "u/17", "sequence_type": "onboarding", "context": {"plan": "pro"}, "override_channel": "email",
    }  # fmt: skip


@both
def test_a_202_is_another_answer(kind: type) -> None:
    with peer([(202, {"command_id": ID, "status_url": "/x"}, {})]) as told:
        assert isinstance(trigger(kind, told.url), Accepted)


@both
def test_a_refusal_is_final_and_explains_itself(kind: type) -> None:
    problem = {"code": "person_not_found", "detail": "There is no person 'u/17'.", "hint": "Name them.", "status": 404}
    with peer([(404, problem, {})]) as told, pytest.raises(Refused, match="There is no person") as raised:
        trigger(kind, told.url)
    assert (raised.value.status, raised.value.code, raised.value.hint) == (404, "person_not_found", "Name them.")
    assert len(told.seen) == 1 and KEY not in str(raised.value)


@both
def test_an_answer_of_something_else_is_a_refusal(kind: type) -> None:
    with peer([(200, "<html>a proxy's page</html>", {})]) as told, pytest.raises(Refused, match="a proxy's page"):
        trigger(kind, told.url)


@both
def test_patience_ends_and_the_key_is_told(kind: type) -> None:
    with peer([(503, {}, {"Retry-After": "60"})]) as told, pytest.raises(Unavailable) as raised:
        trigger(kind, told.url, patience=5.0)
    assert raised.value.key == told.seen[0][0] and raised.value.key in str(raised.value)
    assert KEY not in f"{raised.value!r} {raised.value}"


@both
def test_nobody_there(kind: type) -> None:
    with peer([]) as told:
        pass
    with pytest.raises(Unavailable, match="ConnectError"):
        trigger(kind, told.url, patience=0.2)


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(Nurture) == methods(AsyncNurture)


def test_without_an_address_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NURTURE_URL", raising=False)
    monkeypatch.setenv("NURTURE_API_KEY", KEY)
    with pytest.raises(ValueError, match="NURTURE_URL") as raised:
        Nurture()
    assert KEY not in str(raised.value)


@given(st.integers(2, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_are_bounded_and_grow(attempt: int, chance: float) -> None:
    wait = wait_before(attempt, chance, None, 0.0)
    assert 0 <= wait <= min(LONGEST, FIRST * 2.0 ** (min(attempt, 40) - 2))


@pytest.mark.parametrize(
    ("said", "wait"),
    [("7", 7.0), ("-1", 0.0), (formatdate(1_000_030, usegmt=True), 30.0), (formatdate(5, usegmt=True), 0.0)],
)
def test_the_server_says_how_long(said: str, wait: float) -> None:
    assert wait_before(2, 0.5, said, 1_000_000.0) == wait


@given(st.text(max_size=40))
def test_nonsense_is_no_wish(said: str) -> None:
    assert wait_before(2, 0.5, said, 1_000_000.0) >= 0
