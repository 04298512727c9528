"""Alerts and dashboards as files: rules that promtool's tests prove, panels that Grafana can read, runbooks that exist."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy/observability"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((HERE / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
TESTS = yaml.safe_load((HERE / "alerts.test.yml").read_text())["tests"]
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((HERE / "grafana/boards").glob("*.json"))}


def tool(name: str) -> str:
    """A program of Debian's package `prometheus`. Skips where it is not installed, unless NURTURE_REQUIRE has that word."""
    if found := shutil.which(name):
        return found
    if "prometheus" in os.environ.get("NURTURE_REQUIRE", "").split():
        pytest.fail(f"{name} is required here and was not found")
    pytest.skip(f"{name} is not installed; on Debian, apt-get install prometheus brings it")


def kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def test_the_rules_pass_their_tests() -> None:
    for what, file in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        done = subprocess.run(
            [tool("promtool"), "check", what, HERE / file], text=True, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [tool("promtool"), "test", "rules", HERE / "alerts.test.yml"],
        text=True, capture_output=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_proved_to_fire_and_to_stay_quiet() -> None:
    fires = {one["alertname"] for test in TESTS for one in test["alert_rule_test"] if one["exp_alerts"]}
    quiet = {one["alertname"] for test in TESTS for one in test["alert_rule_test"] if not one["exp_alerts"]}
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    assert fires == quiet == set(names)


def test_every_alert_says_what_it_is_how_bad_and_where_to_read_on() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
        assert rule["annotations"]["runbook"] == f"docs/operate.md#{kebab(rule['alert'])}"


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_one_that_grafana_can_read(name: str) -> None:
    board = BOARDS[name]
    assert board["uid"] == f"nurture-{name}" and board["title"] and board["schemaVersion"] >= 39
    (source,) = yaml.safe_load((HERE / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in ("stat", "timeseries") and panel["title"]
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        assert panel["fieldConfig"]["defaults"]["unit"] in ("short", "s", "ops", "percentunit", "bytes")
        places = panel["gridPos"]
        cells = {(places["x"] + x, places["y"] + y) for x in range(places["w"]) for y in range(places["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["targets"] and all(
            one["expr"] and one["datasource"] == panel["datasource"] for one in panel["targets"]
        )


def test_compose_hands_the_files_to_who_reads_them() -> None:
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    watching = {name: one for name, one in services.items() if "observability" in one.get("profiles", ())}
    assert set(watching) == {"prometheus", "grafana", "otel-collector"}
    for one in watching.values():
        assert re.fullmatch(r"\$\{[A-Z_]+_IMAGE:-[\w./-]+:[\w.]+\}", one["image"]), one["image"]
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", ()))
        for volume in one["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / "deploy" / source).is_dir(), source
    provider = yaml.safe_load((HERE / "grafana/provisioning/dashboards/nurture.yml").read_text())["providers"][0]
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in watching["grafana"]["volumes"]}
    assert mounted[provider["options"]["path"]] == "./observability/grafana/boards"
    assert "./observability/grafana/provisioning" in mounted.values()
