"""docs/how-to/run-on-kubernetes.md: its lines run as written, with a kubectl that notes what it is asked instead of asking."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.journeys.system import CLEAN, NURTURE
from tests.kubernetes.rendered import NAMESPACE, ROOT, kubectl, matches, of_kind, render, workload, workloads
from tests.kubernetes.test_environment import ENVIRON, references

PAGE = (ROOT / "docs/how-to/run-on-kubernetes.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
APPLY = "apply -k deploy/kubernetes/example"
NOTES = """#!/bin/sh
[ "$1" = create ] && [ "$2" = configmap ] && [ ! -f ca.crt ] && exit 1
for word; do printf '%s ' "$word"; done >> "$ASKED"
echo >> "$ASKED"
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder in which the lines were run, and what kubectl was asked, in order."""
    kubectl()
    folder = tmp_path_factory.mktemp("page")
    (folder / "deploy").mkdir()
    (folder / "deploy/kubernetes").mkdir()
    (folder / "ca.crt").write_text("a certificate")
    (folder / "bin").mkdir()
    (folder / "bin/kubectl").write_text(NOTES)
    (folder / "bin/kubectl").chmod(0o755)
    env = {**CLEAN, **ENVIRON, "PATH": f"{folder}/bin:{os.environ['PATH']}", "ASKED": str(folder / "asked")}
    for block in BLOCKS:
        script = block.replace(".venv/bin/nurture", shlex.quote(NURTURE))
        subprocess.run(["bash", "-ec", script], cwd=folder, env=env, check=True, capture_output=True, timeout=120)
    return folder, [line.strip() for line in (folder / "asked").read_text().splitlines()]


def test_the_secret_it_applies_is_the_one_that_pods_ask_for(asked: tuple[Path, list[str]]) -> None:
    folder, lines = asked
    assert lines.index(f"apply --server-side -n {NAMESPACE} -f deploy/kubernetes/secret.yaml") < lines.index(APPLY)
    secret = yaml.safe_load((folder / "deploy/kubernetes/secret.yaml").read_text())
    assert secret["kind"] == "Secret" and secret["stringData"]["FROM_EMAIL"] == ENVIRON["FROM_EMAIL"]
    for one in workloads("example"):
        for name, key, optional in references(one, "secretKeyRef"):
            assert name == secret["metadata"]["name"] and (optional or key in secret["stringData"])
    ignored = subprocess.run(["git", "check-ignore", "deploy/kubernetes/secret.yaml"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_what_it_waits_for_restarts_and_forwards_is_there(asked: tuple[Path, list[str]]) -> None:
    _, lines = asked
    there = {(one["kind"].lower(), one["metadata"]["name"]) for one in render("example")}
    named = [
        tuple(word.split("/", 1)) for line in lines for word in line.split() if re.fullmatch(r"[a-z]+/[\w-]+", word)
    ]
    assert {("job", "migrate"), ("deployment", "gateway"), ("service", "gateway")} <= set(named) <= there
    assert all(f"-n {NAMESPACE}" in line for line in lines if " -n " in line)
    (restart,) = [line for line in lines if line.startswith("rollout restart")]
    key, value = restart.split("-l ")[1].split("=")
    chosen = [
        one
        for one in of_kind("example", "Deployment")
        if matches({"matchLabels": {key: value}}, one["metadata"]["labels"])
    ]
    assert len(chosen) == 5
    assert "port-forward -n nurture service/gateway 8001:8080" in lines
    authorities = [line for line in lines if "configmap" in line]
    volumes = {
        one["name"]: one["configMap"] for one in workload("example", "email").pod["volumes"] if "configMap" in one
    }
    for line, name in zip(authorities, ("authority", "relay-authority"), strict=True):
        assert line.split()[4] == volumes[name]["name"] and "--from-file=ca.crt" in line
    mounts = {one["name"]: one["mountPath"] for one in workload("example", "email").container["volumeMounts"]}
    assert f"sslrootcert={mounts['authority']}/ca.crt" in PAGE


def test_an_upgrade_makes_a_new_job(asked: tuple[Path, list[str]]) -> None:
    """A Job's template cannot be changed."""
    _, lines = asked
    last = len(lines) - 1 - lines[::-1].index(APPLY)
    assert lines[last - 1] == "delete job -n nurture migrate --ignore-not-found"
    assert lines[last + 1] == "wait -n nurture --for=condition=complete --timeout=10m job/migrate"


def test_folders_and_components_that_the_page_names_are_there() -> None:
    for name in re.findall(r"`(components/\w+)`", PAGE):
        assert (ROOT / "deploy/kubernetes" / name / "kustomization.yaml").is_file(), name
