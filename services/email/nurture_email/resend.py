"""Resend over HTTP: one request for one mail or for up to 100, under one idempotency key."""

import asyncio
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec
from nurture_chassis.settings import Secret

from nurture_email.provider import Account, Rate, Reply
from nurture_email.rendering import Mail
from nurture_email.verdicts import Answer, Verdict, read

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 20.0
REPLY_LIMIT = 1_000_000
USER_AGENT = "nurture-email/1"
ACCOUNT = Account(
    name="resend",
    request=100,
    keyed=True,
    hint="Resend refuses the account: check RESEND_API_KEY, the sender's domain and the quota",
)


class Resend:
    """The adapter. It never raises for anything that a network or a provider can do; it answers with a verdict."""

    def __init__(
        self,
        api_key: Secret,
        url: str,
        *,
        concurrency: int,
        total: float = TOTAL_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._total = total
        self._now = now
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={
                "Authorization": f"Bearer {api_key.reveal()}",
                "User-Agent": USER_AGENT,
                "Content-Type": "application/json",
                # Replies are small, and a compressed one could be anything but.
                "Accept-Encoding": "identity",
            },
            timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            follow_redirects=False,
            # A proxy is for the world outside; a provider on this machine is reached directly.
            trust_env=httpx.URL(url).host not in ("127.0.0.1", "localhost", "::1"),
        )

    async def send(self, key: str, mails: Sequence[Mail]) -> Reply:
        """Send 1 to 100 mails as one request under the idempotency key `key`."""
        if len(mails) == 1:
            return await self._post("/emails", encode(mails[0]), key, {}, 1)
        body = b"[" + b",".join([encode(mail) for mail in mails]) + b"]"
        return await self._post("/emails/batch", body, key, {"x-batch-validation": "permissive"}, len(mails))

    async def _post(self, path: str, body: bytes, key: str, headers: dict[str, str], count: int) -> Reply:
        written = False

        async def watch(event: str, info: Any) -> None:
            nonlocal written
            written = written or event.endswith("send_request_headers.started")

        def failed(reason: str) -> Reply:
            # Only bytes on the wire can reach anybody; before that it certainly was not sent.
            return Reply(Verdict(kind="ambiguous" if written else "not_sent", reason=reason), answered=False)

        try:
            async with (
                asyncio.timeout(self._total),
                self._client.stream(
                    "POST",
                    path,
                    content=body,
                    headers={"Idempotency-Key": key, **headers},
                    extensions={"trace": watch},
                ) as response,
            ):
                return Reply(
                    read(
                        Answer(
                            status=response.status_code,
                            body=await _json(response),
                            retry_after=_seconds(response.headers.get("retry-after"), self._now()),
                        ),
                        count,
                    ),
                    _rate(response.headers),
                )
        except TimeoutError:
            return failed("timeout")
        except httpx.HTTPError as error:
            return failed(type(error).__name__)
        except httpx.InvalidURL:
            return failed("invalid_url")

    async def close(self) -> None:
        await self._client.aclose()


def encode(mail: Mail) -> bytes:
    """The mail as Resend's API takes it; the same mail gives the same bytes."""
    return msgspec.json.encode(
        {
            "from": mail.sender,
            "to": [mail.to],
            "subject": mail.subject,
            "html": mail.html,
            "text": mail.text,
            "headers": mail.headers,
            "tags": mail.tags,
        }
    )


async def _json(response: httpx.Response) -> Any:
    """The reply's JSON; None when it is none, or larger than any answer of theirs."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > REPLY_LIMIT:
            return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _seconds(value: str | None, now: float) -> float | None:
    """`retry-after` is seconds or an HTTP date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except ValueError:
            return None
    return min(max(0.0, seconds), 86_400.0) if seconds == seconds else None


def _rate(headers: httpx.Headers) -> Rate:
    limit, remaining = _number(headers.get("ratelimit-limit")), _number(headers.get("ratelimit-remaining"))
    return Rate(
        limit=limit if limit and limit > 0 else None,
        remaining=None if remaining is None else int(remaining),
        reset=_number(headers.get("ratelimit-reset")),
    )


def _number(value: str | None) -> float | None:
    # Drafts of the standard differ: `5`, and `5, 5;w=1`.
    head = (value or "").split(",")[0].split(";")[0].strip()
    try:
        number = float(head)
    except ValueError:
        return None
    return number if 0 <= number < 1e6 else None
