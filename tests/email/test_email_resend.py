"""The adapter against a server that misbehaves byte by byte."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
import pytest
from nurture_chassis.settings import Secret
from nurture_email.rendering import Mail, Tag
from nurture_email.resend import Reply, Resend

KEY = "re_a_key_that_must_not_show"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def mail(number: int = 1) -> Mail:
    return Mail(
        delivery_id=UUID(int=number),
        sender="Acme <a@acme.test>", to=f"p{number}@x.test", subject="Hi", html="<p>Hi</p>", text="Hi",
        headers={"List-Id": "<x.acme.test>"}, tags=[Tag("delivery_id", str(UUID(int=number)))], links={},
    )  # fmt: skip


class Server:
    """Takes one request at a time and answers it as told; `requests` are (head, body)."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[tuple[str, bytes]] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length:")
            )
            self.requests.append((head, await reader.readexactly(length)))
            await self._answer(reader, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


def says(status: str, body: bytes, *headers: str) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers])
        writer.write(f"{head}\r\n\r\n".encode() + body)

    return answer


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return None


async def stays_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def stops_halfway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"id": "')


async def never_ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await writer.drain()


def sent(answer: Answer, count: int = 1, total: float = 20.0) -> tuple[Reply, list[tuple[str, bytes]]]:
    async def run() -> tuple[Reply, list[tuple[str, bytes]]]:
        async with Server(answer) as server:
            provider = Resend(Secret(KEY), server.url, concurrency=2, total=total, now=lambda: 0.0)
            try:
                return await provider.send("claim-1", [mail(n + 1) for n in range(count)]), server.requests
            finally:
                await provider.close()

    return asyncio.run(asyncio.wait_for(run(), 30))


def test_one_mail_goes_alone_and_more_go_as_a_permissive_batch() -> None:
    reply, ((head, body),) = sent(says("200 OK", b'{"id": "p1"}'))
    assert reply.verdict.kind == "accepted" and reply.verdict.members[0].provider_id == "p1"
    assert head.startswith("POST /emails HTTP/1.1") and "idempotency-key: claim-1" in head.lower()
    assert f"authorization: bearer {KEY}" in head.lower() and "user-agent: nurture" in head.lower()
    assert msgspec.json.decode(body) == {
        "from": "Acme <a@acme.test>", "to": ["p1@x.test"], "subject": "Hi", "html": "<p>Hi</p>", "text": "Hi",
        "headers": {"List-Id": "<x.acme.test>"},
        "tags": [{"name": "delivery_id", "value": "00000000-0000-0000-0000-000000000001"}],
    }  # fmt: skip
    reply, ((head, body),) = sent(says("200 OK", b'{"data": [{"id": "a"}, {"id": "b"}]}'), count=2)
    assert [member.provider_id for member in reply.verdict.members] == ["a", "b"]
    assert head.startswith("POST /emails/batch ") and "x-batch-validation: permissive" in head.lower()
    assert [entry["to"] for entry in msgspec.json.decode(body)] == [["p1@x.test"], ["p2@x.test"]]


@pytest.mark.parametrize(
    "answer",
    [
        hangs_up,
        stays_silent,
        stops_halfway,
        never_ends,
        says("200 OK", b"<html>"),
        says("502 Bad Gateway", b"<html>"),
    ],
)
def test_whatever_happens_after_writing_is_ambiguous(answer: Answer) -> None:
    reply, requests = sent(answer, total=0.5)
    assert reply.verdict.kind == "ambiguous" and len(requests) == 1


def test_a_redirect_is_not_followed_and_took_nothing() -> None:
    reply, requests = sent(says("307 Temporary Redirect", b"", "location: http://192.0.2.1/"))
    assert (reply.verdict.kind, reply.verdict.then, reply.verdict.reason) == ("not_sent", "park", "http_307")
    assert len(requests) == 1


def test_a_server_that_is_not_there_was_sent_nothing() -> None:
    async def run() -> Reply:
        async with Server(hangs_up) as server:
            url = server.url
        provider = Resend(Secret(KEY), url, concurrency=1)
        try:
            return await provider.send("k", [mail()])
        finally:
            await provider.close()

    verdict = asyncio.run(run()).verdict
    assert (verdict.kind, verdict.reason) == ("not_sent", "ConnectError")


def test_waiting_for_a_free_connection_is_not_sending() -> None:
    asked = asyncio.Event()

    async def keeps_the_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    async def run() -> Reply:
        async with Server(keeps_the_connection) as server:
            provider = Resend(Secret(KEY), server.url, concurrency=1)
            first = asyncio.create_task(provider.send("k1", [mail()]))
            await asyncio.wait_for(asked.wait(), 20)
            provider._total = 0.1
            try:
                reply = await provider.send("k2", [mail()])
            finally:
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
                await provider.close()
            assert len(server.requests) == 1
            return reply

    assert asyncio.run(run()).verdict.kind == "not_sent"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("retry-after: 7", 7.0),
        ("retry-after: Thu, 01 Jan 1970 00:01:00 GMT", 60.0),
        ("retry-after: soon", None),
        ("x: y", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    reply, _ = sent(says("429 Too Many", b'{"name": "rate_limit_exceeded"}', header))
    assert (reply.verdict.kind, reply.verdict.retry_after) == ("not_sent", seconds)


@pytest.mark.parametrize(
    ("text", "limit"),
    [("5", 5.0), ("10, 10;w=1", 10.0), ("10;w=1", 10.0), ("0", None), ("nan", None), ("-1", None), ("x", None)],
)
def test_the_stated_rate(text: str, limit: float | None) -> None:
    reply, _ = sent(
        says("200 OK", b'{"id": "p"}', f"ratelimit-limit: {text}", "ratelimit-remaining: 1", "ratelimit-reset: 1")
    )
    assert (reply.rate.limit, reply.rate.remaining, reply.rate.reset) == (limit, 1, 1.0)


def test_the_key_is_nowhere_to_be_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    provider = Resend(Secret(KEY), "http://127.0.0.1:9", concurrency=1)
    assert KEY not in repr(provider) and KEY not in repr(vars(provider))
    for answer in (hangs_up, says("401 Unauthorized", b'{"name": "missing_api_key"}')):
        reply, _ = sent(answer)
        assert KEY not in repr(reply)
    assert KEY not in caplog.text
