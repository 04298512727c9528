"""The sandbox provider as a process, with a client for its ledger."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from nurture_local.ports import free_port


class Sandbox:
    """The process and a client for its ledger."""

    def __init__(self, data: Path) -> None:
        port, self.smtp_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            "PATH": os.environ["PATH"],
            "SANDBOX_DATA": str(data),
            "SANDBOX_PORT": str(port),
            "SANDBOX_SMTP_PORT": str(self.smtp_port),
            "SANDBOX_RATE_LIMIT": "1000",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nurture_local.sandbox"], env=environment, stderr=subprocess.DEVNULL
        )
        self.client = httpx.Client(base_url=self.url, timeout=10)

    def ready(self) -> "Sandbox":
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.client.get("/health/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)
        raise AssertionError("the sandbox did not become ready")

    def chaos(self, **settings: Any) -> None:
        self.client.post("/api/chaos", json=settings).raise_for_status()

    def messages(self) -> list[dict[str, Any]]:
        return self.client.get("/api/messages", params={"channel": "email", "limit": 1000}).raise_for_status().json()

    def calls(self) -> list[dict[str, Any]]:
        """Calls that did not simply work."""
        return self.client.get("/api/calls", params={"channel": "email"}).raise_for_status().json()

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(20)
