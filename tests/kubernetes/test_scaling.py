"""What scales services, what Prometheus fetches, what the world may ask: names that others made, held to what there is."""

import re
from typing import Any

import msgspec
import pytest
from nurture_contracts.topology import BY_DURABLE, heard_by

from tests.kubernetes.rendered import NAMESPACE, ROOMS, matches, named, of_kind, workload, workloads
from tests.kubernetes.test_environment import BOTH, environment

KEDA = {"natsServerMonitoringEndpoint", "account", "stream", "consumer", "lagThreshold"}
"""What KEDA's documentation of the trigger nats-jetstream lists, without what we leave as it is."""
SELDOM = re.compile(r"controller-(cancel|publish|simulate|pause|process|resend|archive)|\w+-replay")
"""Consumers of what an operator asks for now and then: more replicas would not help."""


class Trigger(msgspec.Struct, forbid_unknown_fields=True):
    """One of a ScaledObject's triggers, as keda.sh/v1alpha1 has it."""

    type: str
    metadata: dict[str, str]


class ScaledObject(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The part of keda.sh/v1alpha1's spec that is used."""

    scale_target_ref: dict[str, str]
    min_replica_count: int
    max_replica_count: int
    fallback: dict[str, int]
    triggers: list[Trigger]


def scaled() -> dict[str, ScaledObject]:
    found = {}
    for one in of_kind("example", "ScaledObject"):
        assert one["apiVersion"] == "keda.sh/v1alpha1"
        found[one["metadata"]["name"]] = msgspec.convert(one["spec"], ScaledObject)
    return found


def test_keda_looks_at_every_consumer_that_has_work_and_at_none_that_there_is_not() -> None:
    assert scaled().keys() == set(ROOMS) - {"gateway"}
    for room, spec in scaled().items():
        assert spec.scale_target_ref == {"name": workload("example", room).name}
        looked = {}
        for trigger in spec.triggers:
            assert trigger.type == "nats-jetstream" and trigger.metadata.keys() == KEDA
            assert trigger.metadata["account"] == "$G", "users.conf names no account"
            assert int(trigger.metadata["lagThreshold"]) > 0
            looked[trigger.metadata["consumer"]] = trigger.metadata["stream"]
        assert looked == {one.durable: one.stream for one in heard_by(room) if not SELDOM.fullmatch(one.durable)}, room
        assert all(BY_DURABLE[durable].stream == stream for durable, stream in looked.items())


def test_keda_keeps_two_and_goes_back_to_two() -> None:
    for spec in scaled().values():
        assert 2 <= spec.min_replica_count < spec.max_replica_count
        assert spec.fallback["replicas"] >= 2 and spec.fallback["failureThreshold"] > 0


def test_keda_finds_the_node_that_leads() -> None:
    """It asks any node for the names of all, then each by `<server name>.<endpoint>`: a headless service of the pods' names."""
    nodes = named("example", "Service", "nats-nodes")
    port = {one["name"]: one["port"] for one in nodes["spec"]["ports"]}["monitor"]
    endpoint = f"{nodes['metadata']['name']}.{NAMESPACE}.svc.cluster.local:{port}"
    triggers = [trigger for spec in scaled().values() for trigger in spec.triggers]
    assert {trigger.metadata["natsServerMonitoringEndpoint"] for trigger in triggers} == {endpoint}
    env = environment("example", workload("example", "nats"), BOTH)
    assert env["NATS_NODE"] == "$(POD)"
    hosts = re.findall(r"@(nats-\d)\.([\w-]+):", env["NATS_ROUTES"])
    assert hosts == [(f"nats-{number}", nodes["metadata"]["name"]) for number in range(3)]


@pytest.mark.parametrize("overlay", ["production", "example"])
def test_gateways_follow_the_processor(overlay: str) -> None:
    spec = named(overlay, "HorizontalPodAutoscaler", "gateway")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}
    assert 2 <= spec["minReplicas"] < spec["maxReplicas"]
    assert [metric["resource"]["name"] for metric in spec["metrics"]] == ["cpu"]
    assert workload(overlay, "gateway").container["resources"]["requests"]["cpu"], "the percentage is of this"


def test_nothing_is_scaled_by_two() -> None:
    targets = [
        one["spec"]["scaleTargetRef"]["name"] for one in of_kind("example", "ScaledObject", "HorizontalPodAutoscaler")
    ]
    assert sorted(targets) == sorted(ROOMS)


def test_prometheus_fetches_from_each_service() -> None:
    monitor = named("example", "PodMonitor", "nurture")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    spec = monitor["spec"]
    assert spec.keys() == {"selector", "podMetricsEndpoints", "jobLabel"}
    assert spec["jobLabel"] == "app.kubernetes.io/name"
    chosen = [one for one in workloads("example") if matches(spec["selector"], one.labels)]
    assert {one.name for one in chosen} == set(ROOMS)
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["path"] == "/metrics" and all(endpoint["port"] in one.ports() for one in chosen)


def routed(paths: list[dict[str, Any]], asked: str) -> bool:
    """As an Ingress matches: exactly, or by whole elements of the path."""
    return any(
        asked == one["path"] if one["pathType"] == "Exact" else f"{asked}/".startswith(f"{one['path'].rstrip('/')}/")
        for one in paths
    )


def test_the_world_reaches_every_page_of_the_gateway_but_not_its_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment("example", workload("example", "gateway"), BOTH).items():
        monkeypatch.setenv(name, value)
    from nurture_gateway.app import build

    service = build()
    spec = named("example", "Ingress", "gateway")["spec"]
    (rule,) = spec["rules"]
    assert rule["host"] == "mail.example.com" and spec["tls"][0]["hosts"] == [rule["host"]]
    paths = rule["http"]["paths"]
    backend = {"service": {"name": "gateway", "port": {"name": "http"}}}
    assert all(one["backend"] == backend for one in paths)
    pages = {route.path for route in service.inner.inner.routes}  # type: ignore[union-attr]
    assert len(pages) > 50
    assert [page for page in sorted(pages) if not routed(paths, page)] == []
    assert [page for page in service.pages() if routed(paths, page)] == []
    used = [one for one in paths if any(routed([one], page) for page in pages)]
    assert used == paths, "a path that the gateway does not have"
