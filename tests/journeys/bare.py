"""The NATS protocol by hand: what any client in any language would say and hear."""

import json
import socket
from urllib.parse import urlsplit
from uuid import uuid4


class Bare:
    """The NATS protocol as text over a socket, as any client in any language would speak it."""

    def __init__(self, url: str) -> None:
        who = urlsplit(url)
        self._socket = socket.create_connection((who.hostname, who.port), timeout=20)
        self._file = self._socket.makefile("rb")
        self._asked = 0
        assert self._file.readline().startswith(b"INFO ")
        self.send(
            "CONNECT "
            + json.dumps(
                {"verbose": False, "headers": True, "no_responders": True, "user": who.username, "pass": who.password}
            )
        )

    def send(self, line: str, payload: bytes | None = None) -> None:
        self._socket.sendall(line.encode() + b"\r\n" + (payload + b"\r\n" if payload is not None else b""))

    def message(self) -> tuple[str, dict[str, str], bytes]:
        """The next message: subject, headers, body."""
        while True:
            words = self._file.readline().decode().split()
            if words[0] == "PING":
                self.send("PONG")
            elif words[0] == "MSG":
                body = self._file.read(int(words[-1]) + 2)[:-2]
                return words[1], {}, body
            elif words[0] == "HMSG":
                raw = self._file.read(int(words[-1]) + 2)[:-2]
                head, body = raw[: int(words[-2])], raw[int(words[-2]) :]
                lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line]
                return words[1], dict(line for line in lines if len(line) == 2), body

    def ask(self, subject: str, body: dict[str, object]) -> dict[str, object]:
        inbox = f"_INBOX.{uuid4().hex}"
        self._asked += 1
        self.send(f"SUB {inbox} {100 + self._asked}")
        payload = json.dumps(body).encode()
        self.send(f"PUB {subject} {inbox} {len(payload)}", payload)
        while True:
            to, _, answer = self.message()
            if to == inbox:
                return json.loads(answer)

    def close(self) -> None:
        self._file.close()
        self._socket.close()
