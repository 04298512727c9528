"""The REST API as the commands use it: found by data dir or by NURTURE_URL and NURTURE_API_KEY."""

import time
import uuid
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from msgspec import Struct
from nurture_chassis import settings
from nurture_chassis.settings import Secret, SettingsError

from nurture_local import control
from nurture_local.instance import DataDir, DataDirRefused
from nurture_local.terminal import UNREACHABLE, Failure, invocation

_LOCAL = ("127.0.0.1", "localhost", "::1")


class Location(Struct, frozen=True):
    """Where the gateway is and the key that opens it. `live` is None when nobody told."""

    url: str
    api_key: str
    live: bool | None = None


class _Told(Struct, frozen=True):
    nurture_url: str | None = None
    nurture_api_key: Secret | None = None


def locate(data_dir: Path | None = None) -> Location:
    """The instance that was named, else that of the environment, else that of this folder. Raises Failure."""
    try:
        told = settings.load(_Told)
    except SettingsError as error:
        raise Failure(str(error)) from None
    if data_dir is None and told.nurture_url:
        if not told.nurture_api_key:
            raise Failure("NURTURE_URL is set but NURTURE_API_KEY is not: set it to the API key of that instance")
        return Location(told.nurture_url.rstrip("/"), told.nurture_api_key.reveal())
    data = DataDir(data_dir)
    try:
        state = data.running()
        if state is None:
            raise Failure(
                f"no instance runs in {data.path}",
                f"start one with `{invocation()} up --detach{data.naming}`, or set NURTURE_URL and NURTURE_API_KEY",
                code=UNREACHABLE,
            )
        view = control.ask(state.control, "where", seconds=10)
    except DataDirRefused as error:
        raise Failure(str(error)) from None
    except control.Unreachable as error:
        raise Failure(str(error), code=UNREACHABLE) from None
    return Location(view["gateway"], view["api_key"], state.live)


class Gateway:
    """One client for one command. Every answer that is not 2xx becomes a Failure with the problem's own words."""

    def __init__(self, location: Location, transport: httpx.BaseTransport | None = None) -> None:
        self.location = location
        host = urlsplit(location.url).hostname or ""
        self._client = httpx.Client(
            base_url=location.url,
            headers={
                "Authorization": f"Bearer {location.api_key}",
                "Accept": "application/json",
                "User-Agent": "nurture-cli/1",
            },
            timeout=httpx.Timeout(120, connect=5),
            trust_env=host not in _LOCAL,
            transport=transport,
        )

    @classmethod
    def at(cls, data_dir: Path | None) -> "Gateway":
        return cls(locate(data_dir))

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **params: Any) -> Any:
        return self._call("GET", path, params={key: value for key, value in params.items() if value is not None})

    def post(self, path: str, body: Any = None) -> Any:
        return self._call("POST", path, json=body)

    def delete(self, path: str, **params: Any) -> Any:
        return self._call("DELETE", path, params=params)

    def post_text(self, path: str, text: str | bytes, kind: str) -> Any:
        return self._call("POST", path, content=text, headers={"Content-Type": kind})

    def post_signed(self, path: str, body: bytes, headers: dict[str, str]) -> Any:
        """What a provider posts: its signature speaks for it, and no key of ours."""
        return self._call("POST", path, content=body, headers={**headers, "Content-Type": "application/json"})

    def ahead(self) -> float | None:
        """How many seconds the gateway's clock is before ours, to about one; None when it does not say."""
        try:
            told = self._client.get("/health/live").headers.get("date", "")
            return parsedate_to_datetime(told).timestamp() + 0.5 - time.time()
        except (httpx.TransportError, ValueError):
            return None

    def settled(self, status_url: str, seconds: float) -> dict[str, Any] | None:
        """Wait for what became of a command that was only accepted; None when it is still open after `seconds`.

        A refusal becomes a Failure, as it would have been at once.
        """
        deadline = time.monotonic() + seconds
        while True:
            report = self.get(status_url)
            if report["state"] != "accepted":
                break
            if time.monotonic() > deadline:
                return None
            time.sleep(0.2)
        status, told = report["status"] or 0, report.get("result") or {}
        if report["state"] == "expired":
            raise Failure("the command expired before it could be done", f"see {status_url}")
        if status >= 400:
            raise refusal(status, told)
        return report

    def result(self, answer: dict[str, Any], seconds: float) -> dict[str, Any]:
        """What a command came to: its answer, or where it was only accepted, what is waited for. Raises Failure."""
        if "status_url" not in answer:
            return answer
        report = self.settled(answer["status_url"], seconds)
        if report is None:
            raise Failure("the controller does not answer; the command is stored", f"see {answer['status_url']}")
        return report["result"]

    def _call(self, method: str, path: str, **more: Any) -> Any:
        headers = dict(more.pop("headers", {}))
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        try:
            answer = self._client.request(method, path, headers=headers, **more)
        except httpx.TimeoutException:
            raise Failure(f"{self.location.url} did not answer in time", code=UNREACHABLE) from None
        except httpx.TransportError as error:
            raise Failure(f"cannot reach {self.location.url}: {error}", code=UNREACHABLE) from None
        if answer.is_success:
            return _read(answer)
        raise problem(answer)


def _read(answer: httpx.Response) -> Any:
    if not answer.content:
        return None
    if "json" in answer.headers.get("content-type", ""):
        return answer.json()
    return answer.text


def problem(answer: httpx.Response) -> Failure:
    """An error answer (problem+json or anything else) as a failure: title, detail, hint."""
    told: Any = None
    if "json" in answer.headers.get("content-type", ""):
        told = answer.json()
    if not isinstance(told, dict):
        return Failure(f"{answer.status_code} {answer.reason_phrase}", answer.text[:300])
    return refusal(answer.status_code, told)


def refusal(status: int, told: dict[str, Any]) -> Failure:
    """What the members of a problem say: title, detail, errors, hint; of a sequence each finding with its own hint."""
    title = f"{status} {told.get('title') or httpx.codes.get_reason_phrase(status)}"
    if told.get("findings"):
        return Failure(title, *map(finding_line, told["findings"]), problem=told)
    more = [str(told["detail"])] if told.get("detail") else []
    for finding in told.get("errors") or []:
        if isinstance(finding, dict) and not _repeats(finding, more):
            more.append(": ".join(str(value) for value in finding.values() if value not in (None, "")))
    if told.get("hint"):
        more.append(f"hint: {told['hint']}")
    return Failure(title, *more, problem=told)


def finding_line(finding: dict[str, Any]) -> str:
    """A finding about a sequence: where, what is wrong, what would be right; not where it is about the whole file."""
    where = f"{finding['where']}: " if finding["where"] else ""
    return f"{'' if finding['severity'] == 'error' else 'remark: '}{where}{finding['problem']} ({finding['hint']})"


def _repeats(finding: dict[str, Any], said: list[str]) -> bool:
    reason = str(finding.get("reason") or finding.get("problem") or "")
    return not any(finding.values()) or bool(reason and any(reason.lower() in line.lower() for line in said))
