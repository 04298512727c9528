"""Debian's Prometheus looks at a real system: what alerts and boards ask for is there, and alerts fire and resolve."""

import importlib.util
import re
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.journeys.system import eventually
from tests.journeys.test_bus import Bare
from tests.observability.conftest import Watched
from tests.observability.prometheus import Prometheus
from tests.observability.test_alerts import BOARDS, HERE, ROOT, RULES, tool

pytestmark = [pytest.mark.xdist_group("watched"), pytest.mark.timeout(400), pytest.mark.long]
PANELS = [
    (name, panel["title"], one["expr"])
    for name in BOARDS
    for panel in BOARDS[name]["panels"]
    for one in panel["targets"]
]
ENDINGS = {"verdict", "ended", "tick", "status"}
"""Labels with values that only trouble makes."""
MAY_BE_EMPTY = {
    "Calls to providers",
    "How long providers take",
    "Ends of attempts",
    "Bounces, 24 h",
    "Complaints, 24 h",
}
"""Series that begin with the first call: those of Telegram, to whom nobody is written here; shares of nothing."""


def _catalogue() -> dict[str, tuple[str, ...]]:
    """Labels by metric, from docs/generate.py: what docs/reference/metrics.md says."""
    found = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    module.pages()
    return {metric.name: metric.labels for metric in module.catalogue()}


def _samples(watched: Watched) -> list[tuple[str, dict[str, str]]]:
    """Name and labels of everything that the five services tell."""
    found: list[tuple[str, dict[str, str]]] = []
    for room in ("gateway", "controller", "email", "telegram", "scoring"):
        text = httpx.get(f"http://127.0.0.1:{watched.ports[room]}/metrics", timeout=20).text
        found += [
            (sample.name, sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples
        ]
    return found


def _asked(expression: str) -> list[tuple[str, dict[str, tuple[str, str]]]]:
    """The metrics that an expression names, each with its matchers: label to operator and value."""
    names = re.findall(r"\b((?:nurture|process)_\w+)(?:\{([^}]*)\})?", expression)
    return [
        (name, {label: (operator, value) for label, operator, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', inside)})
        for name, inside in names
    ]


def _people(watched: Watched, count: int, label: str = "") -> None:
    stem = uuid4().hex[:8]
    people = [f"live-{stem}-{n}" for n in range(count)]
    lines = [f"{one},Ada,{one}{label}@example.test,UTC" for one in people]
    file = watched.system.data_dir.parent / f"{stem}.csv"
    file.write_text("\n".join(["external_id,first_name,email,timezone", *lines]) + "\n")
    watched.system.cli("people", "import", str(file))
    answer = watched.system.trigger({"user_ids": people, "sequence_type": "onboarding"})
    assert answer.status_code == 202, answer.text
    watched.system.settled(answer.json()["command_id"])


@pytest.fixture(scope="module")
def prometheus(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus") / "prometheus"
    rooms = ("gateway", "controller", "email", "telegram", "scoring")
    targets = {room: f"127.0.0.1:{watched.ports[room]}" for room in rooms}
    made = Prometheus(tool("prometheus"), folder, (HERE / "alerts.yml").read_text(), targets)
    try:
        made.wait(lambda: len(made.query("up == 1")) == len(rooms), "not all services are scraped")
        _people(watched, 3)
        eventually(lambda: watched.system.counts().get("delivered", 0) >= 3, what="three deliveries")
        yield made
    finally:
        made.close()


def test_every_metric_that_alerts_and_boards_ask_for_is_told(watched: Watched, prometheus: Prometheus) -> None:
    catalogue, samples = _catalogue(), _samples(watched)
    told = {name for name, _ in samples}
    asked = [(rule["alert"], rule["expr"]) for rule in RULES] + [(title, expr) for _, title, expr in PANELS]
    for whose, expression in asked:
        for name, matchers in _asked(expression):
            family = re.sub(r"_(bucket|count|sum)$", "", name) if name not in catalogue else name
            if family.startswith("nurture_"):
                assert family in catalogue, (whose, name)
                assert set(matchers) <= set(catalogue[family]), (whose, name, matchers)
            lasting = {label: wanted for label, wanted in matchers.items() if label not in ENDINGS}
            assert name in told, (whose, name)
            assert any(
                _fits(labels, lasting) for found, labels in samples if found == name
            ), (whose, name, matchers)  # fmt: skip


def _fits(labels: dict[str, str], matchers: dict[str, tuple[str, str]]) -> bool:
    return all(
        re.fullmatch(value if operator == "=~" else re.escape(value), labels.get(label, ""))
        for label, (operator, value) in matchers.items()
    )


def test_every_panel_shows_something(prometheus: Prometheus) -> None:
    for _, title, expression in PANELS:
        expression = expression.replace("$__rate_interval", "60s")
        if title in MAY_BE_EMPTY:
            prometheus.query(expression)
        else:
            prometheus.wait(lambda expression=expression: prometheus.query(expression), f"{title} is empty", 30)


def test_nothing_fires_on_a_system_that_is_well(prometheus: Prometheus) -> None:
    prometheus.resolves(*(rule["alert"] for rule in RULES))


def test_a_provider_that_is_down_fires_and_resolves(watched: Watched, prometheus: Prometheus) -> None:
    watched.system.chaos(fail_next=100_000, status=503)
    try:
        _people(watched, 1)
        prometheus.fires("ProviderDown")
    finally:
        watched.system.chaos(fail_next=0)
    prometheus.resolves("ProviderDown")


def test_an_account_that_is_refused_fires_and_resolves(watched: Watched, prometheus: Prometheus) -> None:
    # Every call: one that was under way beside the refused one and succeeds shows that the account is in order.
    watched.system.chaos(fail_next=100_000, status=401)
    try:
        _people(watched, 1)
        prometheus.fires("ProviderParked")
    finally:
        watched.system.chaos(fail_next=0)
    # What an operator does once the account is in order.
    watched.system.rows("update email.pace set parked_until = null, park_reason = null, next_at = now() returning 1")
    prometheus.resolves("ProviderParked")


def test_dead_letters_fire_and_resolve(watched: Watched, prometheus: Prometheus) -> None:
    client = Bare(watched.system.status()["nats"])
    try:
        client.send("PUB nurture.evt.email.observed 1", b"{")
        prometheus.fires("DeadLettersWaiting")
    finally:
        client.close()
    for room in ("controller", "scoring"):
        watched.system.rows(f"update {room}.dead_letters set replayed_at = now() where replayed_at is null returning 1")
    prometheus.resolves("DeadLettersWaiting")


def test_a_pause_fires_and_resolves(watched: Watched, prometheus: Prometheus) -> None:
    watched.system.cli("pause", "re_engagement")
    prometheus.fires("SendingPaused")
    watched.system.cli("resume", "re_engagement")
    prometheus.resolves("SendingPaused")


def test_silence_fires_and_resolves(watched: Watched, prometheus: Prometheus) -> None:
    """No webhooks while mail leaves; then events while nobody computes scores; a service that is not there."""
    system = watched.system
    system.chaos(webhooks="off")
    system.service("stop", "scoring")
    try:
        _people(watched, 30)
        prometheus.fires("NoWebhooks", "ServiceDown")
        system.chaos(webhooks="on")
        prometheus.fires("ScoreCalculationsStopped")
        prometheus.resolves("NoWebhooks")
    finally:
        system.chaos(webhooks="on")
        system.service("start", "scoring")
    prometheus.resolves("ServiceDown", "ScoreCalculationsStopped")


def test_bounces_fire(watched: Watched, prometheus: Prometheus) -> None:
    _people(watched, 140)
    _people(watched, 30, "+bounce")
    prometheus.fires("BounceRate")
    assert prometheus.query("ALERTS{alertname='BounceRate',alertstate='firing'}")[0]["metric"]["channel"] == "email"
