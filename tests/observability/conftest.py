"""One instance that is watched: its spans come to a receiver of ours, its logs are JSON, Debian's Prometheus scrapes it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.system import System, running
from tests.observability.receiver import Receiver


class Watched:
    """The instance, its span receiver, and what else can be looked at from outside."""

    def __init__(self, system: System, spans: Receiver) -> None:
        self.system = system
        self.spans = spans
        self.ports: dict[str, int] = json.loads((system.data_dir / "instance.json").read_text())["ports"]

    def logged(self, room: str) -> list[dict[str, Any]]:
        """The lines of a service's log so far."""
        lines = (self.system.data_dir / "logs" / f"{room}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder: Path = tmp_path_factory.mktemp("watched")
    with Receiver() as spans:
        env = {
            "LOG_FORMAT": "json",
            "SANDBOX_RATE_LIMIT": "200",
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
            "OTEL_BSP_SCHEDULE_DELAY": "300",
            "CANARY_EMAIL": "delivered+canary@resend.dev",
            "CANARY_MINUTES": "0.1",
        }
        with running(folder / "data", env=env) as system:
            yield Watched(system, spans)
