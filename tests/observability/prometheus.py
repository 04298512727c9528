"""Debian's Prometheus on the real rules, hastened: evaluated each second, without `for`, over short windows."""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml
from nurture_local.ports import free_port

WINDOW = "20s"


def hastened(rules: str) -> str:
    """The same rules for a test that cannot wait for hours: what fires here would fire there, later."""
    groups = yaml.safe_load(re.sub(r"\[\d+[smhd]\]", f"[{WINDOW}]", rules))
    for group in groups["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    return yaml.safe_dump(groups)


class Prometheus:
    """Scrapes these targets, by job, each second."""

    def __init__(self, program: str, folder: Path, rules: str, targets: Mapping[str, str]) -> None:
        folder.mkdir()
        (folder / "rules.yml").write_text(hastened(rules))
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)

    def close(self) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now. Fails where Prometheus refuses it."""
        answer = self.client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, (expression, answer.text)
        return answer.json()["data"]["result"]

    def firing(self) -> set[str]:
        """The names of what fires."""
        answer = self.client.get("/api/v1/alerts").json()["data"]["alerts"]
        return {one["labels"]["alertname"] for one in answer if one["state"] == "firing"}

    def wait(self, ready: Callable[[], Any], what: str, within: float = 60) -> None:
        """Until `ready`, which may be asked before the server listens."""
        deadline, tick = time.monotonic() + within, threading.Event()
        while True:
            try:
                if ready():
                    return
            except httpx.TransportError:
                assert self._process.poll() is None, "Prometheus has ended"
            assert time.monotonic() < deadline, f"{what}; firing: {self._quietly()}"
            tick.wait(0.2)

    def _quietly(self) -> set[str] | str:
        try:
            return self.firing()
        except httpx.HTTPError as error:
            return type(error).__name__

    def fires(self, *names: str) -> None:
        self.wait(lambda: set(names) <= self.firing(), f"{names} did not fire")

    def resolves(self, *names: str) -> None:
        self.wait(lambda: not set(names) & self.firing(), f"{names} did not resolve")
