"""The sandbox as its own process, and a receiver that stands where the gateway would."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
from nurture_local.ports import free_port

SECRET = "whsec_" + "c2FuZGJveC10ZXN0LXNlY3JldC0wMTIzNDU2Nzg5"
PATIENCE = 60.0


class Heard(NamedTuple):
    """One request at the receiver."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def type(self) -> str:
        return msgspec.json.decode(self.body)["type"]

    @property
    def data(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body)["data"]


class Receiver:
    """Hears webhooks, pixels and clicks. `answer(heard)` chooses the status; None closes without one."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answer: Callable[[Heard], int] = lambda _: 200
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                heard = Heard(self.command, self.path, headers, body)
                status = receiver.answer(heard)
                with receiver._changed:
                    receiver.heard.append(heard)
                    receiver._changed.notify_all()
                self.send_response(status)
                if status in (301, 302, 303):
                    self.send_header("location", "http://192.0.2.1/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST = _serve

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def wait(self, enough: Callable[[list[Heard]], bool]) -> list[Heard]:
        """Everything heard, once `enough` of it holds."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.heard), PATIENCE), [
                (heard.method, heard.path) for heard in self.heard
            ]
            return list(self.heard)

    def webhooks(self, *types: str) -> list[Heard]:
        """The first webhook of each type, in the order asked for, once all have come."""

        def first(heard: list[Heard], kind: str) -> Heard | None:
            return next((one for one in heard if one.path == "/webhook" and one.type == kind), None)

        found = self.wait(lambda heard: all(first(heard, kind) for kind in types))
        return [webhook for kind in types if (webhook := first(found, kind))]

    def visit(self, prefix: str) -> Heard:
        """The first request whose path starts with `prefix`."""
        found = self.wait(lambda heard: any(one.path.startswith(prefix) for one in heard))
        return next(one for one in found if one.path.startswith(prefix))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class SandboxProcess:
    """One `python -m nurture_local.sandbox`."""

    def __init__(self, data: Path, receiver: Receiver | None, **settings: str) -> None:
        self.port = int(settings.pop("SANDBOX_PORT", 0) or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "SANDBOX_DATA": str(data),
            "SANDBOX_PORT": str(self.port),
            "SANDBOX_READING_SECONDS": "0.05",
            "RESEND_WEBHOOK_SECRET": SECRET,
            "SANDBOX_WEBHOOK_URL": f"{receiver.url}/webhook" if receiver else "",
            **settings,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nurture_local.sandbox"],
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.client = httpx.Client(base_url=self.url, headers={"authorization": "Bearer re_test"}, timeout=PATIENCE)

    def ready(self) -> "SandboxProcess":
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the sandbox ended: {self.log()}")
            try:
                if self.client.get("/health/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)
        raise AssertionError("the sandbox did not become ready")

    def log(self) -> str:
        """What the ended process wrote."""
        assert self.process.stderr
        return self.process.stderr.read()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(PATIENCE)
        self.client.close()
        if self.process.stderr:
            self.process.stderr.close()
        return code

    def messages(self, **query: Any) -> list[dict[str, Any]]:
        return self.client.get("/api/messages", params=query).raise_for_status().json()

    def summary(self) -> dict[str, Any]:
        return self.client.get("/api/ledger/summary").raise_for_status().json()

    def chaos(self, **settings: Any) -> None:
        self.client.post("/api/chaos", json=settings).raise_for_status()

    def send(self, to: str = "ann@example.com", **fields: Any) -> str:
        """Send one mail; its id."""
        reply = self.client.post("/emails", json=mail(to, **fields))
        assert reply.status_code == 200, reply.text
        return reply.json()["id"]


def mail(to: str = "ann@example.com", **fields: Any) -> dict[str, Any]:
    return {
        "from": "Nurture <hello@example.org>",
        "to": [to],
        "subject": "Welcome",
        "html": "<p>Hello</p>",
        "text": "Hello",
        **fields,
    }


def tracked_mail(origin: str, to: str) -> dict[str, Any]:
    """A mail as the email service renders it: content, tracked links, pixel last, one-click header."""
    return mail(
        to,
        html=(
            f'<img src="{origin}/logo.png"><p>Hello <a href="{origin}/t/c/first">Start</a>'
            f'<a href="{origin}/t/c/second">More</a></p><img src="{origin}/t/o/pixel" width="1" height="1">'
        ),
        headers={
            "List-Unsubscribe": f"<{origin}/u/token>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        tags=[{"name": "delivery_id", "value": "0198c0de-0000-7000-8000-000000000001"}],
    )
