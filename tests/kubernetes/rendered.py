"""What `kubectl kustomize` makes of deploy/kubernetes, and the questions that tests ask of it."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
OVERLAYS = ("small", "production", "example")
ROOMS = ("gateway", "controller", "email", "telegram", "scoring")
NAMESPACE = "nurture"
WORKLOADS = ("Deployment", "StatefulSet", "Job")
Object = dict[str, Any]


def kubectl() -> str:
    """A kubectl that knows components. Skips where there is none; fails where NURTURE_REQUIRE holds `kubernetes`."""
    found = shutil.which("kubectl")
    reason = "kubectl is not installed" if found is None else _too_old(found)
    if reason:
        if "kubernetes" in os.environ.get("NURTURE_REQUIRE", "").split():
            pytest.fail(reason)
        pytest.skip(reason)
    assert found
    return found


@functools.cache
def _too_old(program: str) -> str:
    # Components came with kustomize 3.7, which kubectl has held since 1.21; Debian 12's is 1.20.
    told = subprocess.run([program, "version", "--client"], text=True, capture_output=True, timeout=60, check=False)
    return "" if "Kustomize Version: v" in told.stdout else "this kubectl is older than 1.25"


@functools.cache
def render(overlay: str) -> tuple[Object, ...]:
    """The objects of one overlay, in kubectl's order."""
    done = subprocess.run(
        [kubectl(), "kustomize", FOLDER / overlay], text=True, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[Object]:
    return [one for one in render(overlay) if one["kind"] in kinds]


def named(overlay: str, kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = [one for one in of_kind(overlay, kind) if one["metadata"]["name"] == name]
    return found


class Workload(NamedTuple):
    """Something that makes pods."""

    kind: str
    name: str
    spec: Object

    @property
    def labels(self) -> dict[str, str]:
        return self.spec["template"]["metadata"]["labels"]

    @property
    def pod(self) -> Object:
        return self.spec["template"]["spec"]

    @property
    def container(self) -> Object:
        """The only one."""
        (found,) = self.pod["containers"]
        assert "initContainers" not in self.pod
        return found

    @property
    def env(self) -> dict[str, Object]:
        names = [entry["name"] for entry in self.container["env"]]
        assert len(set(names)) == len(names), f"{self.name} is told something twice"
        return {entry["name"]: entry for entry in self.container["env"]}

    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", ())}


def workloads(overlay: str) -> list[Workload]:
    return [Workload(one["kind"], one["metadata"]["name"], one["spec"]) for one in of_kind(overlay, *WORKLOADS)]


def workload(overlay: str, name: str) -> Workload:
    (found,) = [one for one in workloads(overlay) if one.name == name]
    return found


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In", "no other operator is used"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def references(workload: Workload, kind: str) -> Iterator[tuple[str, str, bool]]:
    """(object, key, optional) of each `secretKeyRef` or `configMapKeyRef`."""
    for entry in workload.env.values():
        if found := entry.get("valueFrom", {}).get(kind):
            yield found["name"], found["key"], found.get("optional", False)


def environment(overlay: str, workload: Workload, secret: Mapping[str, str]) -> dict[str, str]:
    """What the container's process sees, as the kubelet makes it: `$(NAME)` stands for what was told before."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(overlay, "ConfigMap")}
    made: dict[str, str] = {}
    for name, entry in workload.env.items():
        source = entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            value = secret.get(source["secretKeyRef"]["key"])
        elif "configMapKeyRef" in source:
            value = maps[source["configMapKeyRef"]["name"]].get(source["configMapKeyRef"]["key"])
        elif "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "metadata.name"
            value = "$(POD)"
        else:
            value = entry["value"]
            for known, text in made.items():
                value = value.replace(f"$({known})", text)
            assert "$(" not in value, f"{workload.name}: {name} uses what is not told before it"
        if value is None:
            assert next(iter(source.values())).get("optional"), f"{workload.name} would not start without {name}"
            continue
        made[name] = value
    return made
