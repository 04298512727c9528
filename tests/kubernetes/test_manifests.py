"""Each overlay is what Kubernetes' own schemas allow, hangs together, and runs nothing with rights that it does not need."""

import itertools
import re

import kubernetes_validate
import pytest

from tests.kubernetes.rendered import (
    NAMESPACE,
    OVERLAYS,
    ROOMS,
    ROOT,
    Workload,
    matches,
    named,
    of_kind,
    render,
    workload,
    workloads,
)

VERSIONS = ("1.27", "1.37")
"""The oldest and the newest Kubernetes whose schemas are asked."""
FOREIGN = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
"""Kinds that others bring: their schemas are not Kubernetes'; test_scaling.py holds their fields."""
COMPOSE = (ROOT / "deploy/compose.yaml").read_text()

each = pytest.mark.parametrize("overlay", OVERLAYS)


@each
@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_allow_it(overlay: str, version: str) -> None:
    own = [one for one in render(overlay) if one["apiVersion"] not in FOREIGN]
    assert len(own) >= 25
    for one in own:
        assert kubernetes_validate.validate(one, version, strict=True) == version


def test_the_schemas_would_refuse_a_misspelt_field() -> None:
    wrong = {**named("small", "Deployment", "email")}
    wrong["spec"] = {**wrong["spec"], "replica": 2}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, VERSIONS[1], strict=True)


@each
def test_every_object_is_in_the_namespace_and_says_whose_it_is(overlay: str) -> None:
    for one in render(overlay):
        assert one["metadata"]["namespace"] == NAMESPACE, one
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "nurture", one
    identities = [(one["kind"], one["metadata"]["name"]) for one in render(overlay)]
    assert len(set(identities)) == len(identities)


@each
def test_images_are_those_that_are_built(overlay: str) -> None:
    built = re.search(r'^SERVICES="(.*)"$', (ROOT / "deploy/images.sh").read_text(), re.MULTILINE)
    nats = re.search(r"\$\{NATS_IMAGE:-([^}]+)\}", COMPOSE)
    assert built and nats
    images = {one.name: one.container["image"] for one in workloads(overlay)}
    assert images.pop("nats") == nats[1]
    assert images.pop("migrate").split("/")[-1].split(":")[0] == "nurture-local"
    assert images.keys() == set(ROOMS)
    assert {*images, "local"} == set(built[1].split())
    for room, image in images.items():
        assert image.split("/")[-1].split(":")[0] == f"nurture-{room}"
    if overlay == "example":
        assert all(image.startswith("registry.example.com/") for image in images.values())


@each
def test_selectors_take_their_own_pods_and_nobody_elses(overlay: str) -> None:
    pods = workloads(overlay)
    for one in pods:
        if one.kind != "Job":
            assert [other for other in pods if matches(one.spec["selector"], other.labels)] == [one]
        for spread in one.pod.get("topologySpreadConstraints", ()):
            assert [other for other in pods if matches(spread["labelSelector"], other.labels)] == [one]
        if one.kind == "Deployment":
            assert one.pod["topologySpreadConstraints"], one.name


@each
def test_services_lead_to_ports_that_are_there(overlay: str) -> None:
    led = {}
    for service in of_kind(overlay, "Service"):
        (target,) = [
            one for one in workloads(overlay) if matches({"matchLabels": service["spec"]["selector"]}, one.labels)
        ]
        ports = {port["name"]: port for port in service["spec"]["ports"]}
        assert set(ports) <= set(target.ports()), service["metadata"]["name"]
        for name, port in ports.items():
            assert port["targetPort"] == name and port["port"] == target.ports()[name]
        led[service["metadata"]["name"]] = (target.name, {port["port"] for port in ports.values()})
    nodes = {8222} if overlay == "small" else {6222, 8222}
    assert led == {"gateway": ("gateway", {8080}), "nats": ("nats", {4222}), "nats-nodes": ("nats", nodes)}
    headless = named(overlay, "Service", "nats-nodes")["spec"]
    # Nodes have to find each other before any of them is ready.
    assert headless["clusterIP"] == "None" and headless["publishNotReadyAddresses"]
    assert workload(overlay, "nats").spec["serviceName"] == "nats-nodes"


@each
def test_pods_are_what_the_restricted_standard_asks_for(overlay: str) -> None:
    """Pod Security Standards, `restricted`, and a root file system that is read-only beside."""
    assert len(workloads(overlay)) == len(ROOMS) + 2
    for one in workloads(overlay):
        pod, container = one.pod["securityContext"], one.container["securityContext"]
        assert pod["runAsNonRoot"] is True and pod["runAsUser"] == 10001 and pod["runAsGroup"] == 10001, one.name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, one.name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(one.pod)
        assert one.pod["automountServiceAccountToken"] is False and one.pod["enableServiceLinks"] is False
        assert all("hostPort" not in port for port in one.container.get("ports", ()))
        resources = one.container["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"]) and "memory" in resources["limits"], one.name
    account = named(overlay, "ServiceAccount", "nurture")
    assert account["automountServiceAccountToken"] is False
    assert {one.pod["serviceAccountName"] for one in workloads(overlay)} == {"nurture"}
    assert not of_kind(overlay, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


@each
def test_the_user_is_that_of_the_images(overlay: str) -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    assert re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE).groups() == ("10001", "10001")  # type: ignore[union-attr]
    assert workload(overlay, "nats").pod["securityContext"]["fsGroup"] == 10001, "or it could not write to its volume"


@each
def test_what_is_mounted_is_there(overlay: str) -> None:
    maps = {one["metadata"]["name"] for one in of_kind(overlay, "ConfigMap")}
    for one in workloads(overlay):
        volumes = {volume["name"]: volume for volume in one.pod["volumes"]}
        claims = {claim["metadata"]["name"] for claim in one.spec.get("volumeClaimTemplates", ())}
        mounts = {mount["name"]: mount for mount in one.container["volumeMounts"]}
        assert set(mounts) == {*volumes, *claims}, one.name
        assert mounts["tmp"]["mountPath"] == "/tmp" and "emptyDir" in volumes["tmp"]
        for volume in volumes.values():
            if source := volume.get("configMap"):
                assert source["name"] in maps or source.get("optional"), source
                assert mounts[volume["name"]]["readOnly"] is True
        if one.name != "nats":
            # Where docs and the Secret say that a private authority's certificate is.
            assert mounts["authority"]["mountPath"] == "/etc/nurture/authority"
    claim = workload(overlay, "nats").spec["volumeClaimTemplates"][0]["spec"]
    assert claim["accessModes"] == ["ReadWriteOnce"]


@each
def test_an_update_takes_nobody_away_before_another_is_there(overlay: str) -> None:
    grace = re.search(r"stop_grace_period: (\d+)s", COMPOSE)
    assert grace
    for room in ROOMS:
        one = workload(overlay, room)
        assert one.spec["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        }
        asleep = one.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        assert asleep[0] == "sleep" and (int(asleep[1]) > 0) == (room == "gateway")
        assert one.pod["terminationGracePeriodSeconds"] >= int(grace[1]) + int(asleep[1])


@each
def test_a_machine_can_always_be_drained(overlay: str) -> None:
    budgets = of_kind(overlay, "PodDisruptionBudget")
    held = [one for one in workloads(overlay) if one.kind != "Job"]
    for one in held:
        (budget,) = [b for b in budgets if matches(b["spec"]["selector"], one.labels)]
        replicas = one.spec.get("replicas", 1)
        spec = budget["spec"]
        allowed = spec["maxUnavailable"] if "maxUnavailable" in spec else replicas - spec["minAvailable"]
        assert 1 <= allowed < max(replicas, 2), one.name
    assert len(budgets) == len(held)


def test_numbers_of_replicas() -> None:
    def counts(overlay: str) -> dict[str, int | None]:
        return {one.name: one.spec.get("replicas") for one in workloads(overlay) if one.kind != "Job"}

    assert set(counts("small").values()) == {None}
    two = dict.fromkeys(("controller", "email", "telegram", "scoring"), 2)
    assert counts("production") == {**two, "gateway": None, "nats": 3}
    assert counts("example") == {**dict.fromkeys(ROOMS), "nats": 3}, "an apply would undo what scales them"


def test_nodes_of_the_bus_are_on_machines_of_their_own() -> None:
    spreads = workload("production", "nats").pod["topologySpreadConstraints"]
    assert ("kubernetes.io/hostname", "DoNotSchedule") in {
        (one["topologyKey"], one["whenUnsatisfiable"]) for one in spreads
    }


@each
def test_the_migration_is_a_command_that_there_is_and_runs_first(overlay: str) -> None:
    job = named(overlay, "Job", "migrate")
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PreSync"
    one = Workload("Job", "migrate", job["spec"])
    assert one.container["command"] == ["nurture", "db", "migrate"]
    from nurture_local.cli import app

    assert callable(app["db"]["migrate"].default_command)
    assert one.pod["restartPolicy"] == "Never" and job["spec"]["backoffLimit"] > 0


def test_overlays_differ_only_in_what_they_say() -> None:
    """A network policy, a role or a service may not get lost between two overlays."""
    identities = [{(one["kind"], re.sub(r"-[a-z0-9]{10}$", "", one["metadata"]["name"])) for one in render(o)} for o in OVERLAYS]  # fmt: skip
    for fewer, more in itertools.pairwise(identities):
        assert fewer < more
