"""NetworkPolicies, judged as Kubernetes defines them: who reaches whom, and that nobody else does."""

import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tests.kubernetes.rendered import NAMESPACE, OVERLAYS, ROOMS, matches, of_kind, workloads

PORTS = (53, 443, 587, 4222, 4318, 5432, 6222, 8080, 8222)


class Place(NamedTuple):
    """A pod, or an address outside of the cluster."""

    name: str
    namespace: str | None = None
    labels: Mapping[str, str] = {}
    address: str | None = None


STRANGERS = (
    Place("stranger", NAMESPACE, {"app.kubernetes.io/name": "stranger"}),
    Place("ingress", "ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"}),
    Place("keda", "keda", {"app": "keda-operator"}),
    Place("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"}),
    Place("collector", "monitoring", {"app.kubernetes.io/name": "opentelemetry-collector"}),
    Place("dns", "kube-system", {"k8s-app": "kube-dns"}),
    # A pod that calls itself one of ours, elsewhere.
    Place("pretender", "elsewhere", {"app.kubernetes.io/part-of": "nurture", "app.kubernetes.io/name": "controller"}),
)
OUTSIDE = (
    Place("internet", address="203.0.113.80"),
    Place("internet, v6", address="2001:db8::80"),
    Place("private address", address="10.1.2.3"),
    Place("cloud's metadata", address="169.254.169.254"),
)


def ours(overlay: str) -> list[Place]:
    return [Place(one.name, NAMESPACE, one.labels) for one in workloads(overlay)]


def peer(rule: Mapping[str, Any], other: Place, home: str) -> bool:
    """Whether one `from` or `to` of a policy in namespace `home` means this place."""
    if block := rule.get("ipBlock"):
        if other.address is None:
            return False
        address = ipaddress.ip_address(other.address)
        inside = [ipaddress.ip_network(network) for network in (block["cidr"], *block.get("except", ()))]
        return address in inside[0] and not any(address in network for network in inside[1:])
    if other.namespace is None:
        return False
    if "namespaceSelector" in rule:
        if not matches(rule["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != home:
        return False
    return matches(rule.get("podSelector", {}), other.labels)


def allows(rules: list[dict[str, Any]], side: str, other: Place, port: int) -> bool:
    """Whether any rule of one policy lets this through; a rule without peers means everybody, without ports each."""
    return any(
        (not rule.get(side) or any(peer(one, other, NAMESPACE) for one in rule[side]))
        and (not rule.get("ports") or any(one["port"] == port for one in rule["ports"]))
        for rule in rules
    )


def reaches(policies: list[dict[str, Any]], source: Place, target: Place, port: int) -> bool:
    """Whether a connection is let out of the one and into the other."""
    for place, other, kind, side in ((source, target, "Egress", "to"), (target, source, "Ingress", "from")):
        if place.namespace != NAMESPACE:
            continue
        bound = [
            policy["spec"]
            for policy in policies
            if kind in policy["spec"]["policyTypes"] and matches(policy["spec"]["podSelector"], place.labels)
        ]
        if bound and not any(allows(spec.get(kind.lower(), []), side, other, port) for spec in bound):
            return False
    return True


def expected(overlay: str) -> set[tuple[str, str, int]]:
    """Every connection that this overlay is about."""
    anybody = {*(one.name for one in STRANGERS), *(one.name for one in OUTSIDE)}
    edges = {(room, "nats", 4222) for room in ROOMS}
    edges |= {(one, place.name, 5432) for one in (*ROOMS, "migrate") for place in (*STRANGERS, *OUTSIDE)}
    edges |= {(room, place, 443) for room in ("email", "telegram") for place in ("internet", "internet, v6")}
    edges |= {("email", place, 587) for place in ("internet", "internet, v6")}
    edges |= {(one, "dns", 53) for one in (*ROOMS, "migrate", "nats")}
    edges |= {(one, "gateway", 8080) for one in anybody}
    if overlay != "small":
        edges.add(("nats", "nats", 6222))
    if overlay == "example":
        edges |= {(one, room, 8080) for one in ("prometheus", "collector") for room in ROOMS}
        edges |= {(room, one, 4318) for one in ("prometheus", "collector") for room in ROOMS}
        edges.add(("keda", "nats", 8222))
    return edges


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_exactly_what_is_needed_is_let_through(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy")
    mine = ours(overlay)
    everybody = (*mine, *STRANGERS, *OUTSIDE)
    found = {
        (source.name, target.name, port)
        for source in everybody
        for target in everybody
        for port in PORTS
        if (source in mine or target in mine) and reaches(policies, source, target, port)
    }
    assert found == expected(overlay)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_policy_is_about_pods_that_there_are(overlay: str) -> None:
    for policy in of_kind(overlay, "NetworkPolicy"):
        spec = policy["spec"]
        assert any(matches(spec["podSelector"], place.labels) for place in ours(overlay)), policy["metadata"]["name"]
        for kind in ("ingress", "egress"):
            assert kind.capitalize() in spec["policyTypes"] or kind not in spec, "a rule of a kind that is not named"
            assert all(rule.get("ports") for rule in spec.get(kind, ())), "a port that nobody thought of"


def test_without_a_policy_the_judge_says_yes_and_each_policy_counts() -> None:
    """The judge itself: take away any policy, and something is let through or stopped that was not before."""
    email, nats = Place("email", NAMESPACE, ours("small")[2].labels), ours("small")[-1]
    assert reaches([], email, nats, 9)
    policies = of_kind("example", "NetworkPolicy")
    everybody = (*ours("example"), *STRANGERS, *OUTSIDE)

    def through(kept: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
        pairs = ((one, two) for one in everybody for two in everybody)
        return {(one.name, two.name, port) for one, two in pairs for port in PORTS if reaches(kept, one, two, port)}

    whole = through(policies)
    for policy in policies:
        assert through([one for one in policies if one is not policy]) != whole, policy["metadata"]["name"]
