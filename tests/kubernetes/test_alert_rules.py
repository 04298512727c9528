"""The alerts of deploy/observability as the Prometheus operator takes them: kustomize cannot put one file into another."""

import textwrap

import yaml

from tests.kubernetes.rendered import FOLDER, ROOMS, ROOT, named, workload

ALERTS = ROOT / "deploy/observability/alerts.yml"
FILE = FOLDER / "components/prometheus/rules.yaml"
HEAD = """\
# deploy/observability/alerts.yml as an object, written by `make docs`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: nurture
  labels: {app.kubernetes.io/part-of: nurture}
spec:
"""


def written() -> str:
    """The object, with the alerts' own words and comments."""
    return HEAD + textwrap.indent(ALERTS.read_text(), "  ")


def test_the_rules_are_those_that_promtool_tests() -> None:
    assert FILE.read_text() == written(), "run `make docs`"
    rule = named("example", "PrometheusRule", "nurture")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
    assert rule["spec"]["groups"]


def test_jobs_that_alerts_name_are_services() -> None:
    """A PodMonitor makes the job's name of the label that it names."""
    label = named("example", "PodMonitor", "nurture")["spec"]["jobLabel"]
    assert {workload("example", room).labels[label] for room in ROOMS} == set(ROOMS)


if __name__ == "__main__":
    FILE.write_text(written())
