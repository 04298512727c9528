"""What each container is told: all that its service needs, nothing that it does not know, from keys that are written."""

import importlib
import re
from pathlib import PurePosixPath
from typing import Any

import certifi
import msgspec
import pytest
import yaml
from nurture_chassis import settings
from nurture_local import compose_env, kube_secret
from nurture_local.configuration import Configuration

from tests.kubernetes.rendered import (
    OVERLAYS,
    ROOMS,
    ROOT,
    Workload,
    environment,
    of_kind,
    references,
    workload,
    workloads,
)

ENVIRON = {
    "DATABASE_URL": "postgresql://admin:pa%2Fss@db.example.com:5432/nurture?sslmode=verify-full&sslrootcert=/etc/nurture/authority/ca.crt",
    "PUBLIC_URL": "https://mail.example.com",
    "FROM_EMAIL": "Ada O'Hara <ada@mail.example.com>",
    "RESEND_API_KEY": "re_test",
    "RESEND_WEBHOOK_SECRET": "whsec_dGVzdHRlc3R0ZXN0dGVzdA==",
}
EMAIL_ONLY = kube_secret.make({}, ENVIRON)
BOTH = kube_secret.make(
    {}, {**ENVIRON, "TELEGRAM_BOT_TOKEN": "7000000001:abc", "TELEGRAM_UPDATES": "webhook", "SECRET_KEY_PREVIOUS": "old"}
)
RELAY = kube_secret.make(
    {},
    {name: value for name, value in ENVIRON.items() if not name.startswith("RESEND_")}
    | {
        "EMAIL_PROVIDER": "smtp",
        "SMTP_HOST": "mx.example.com",
        "SMTP_CA_FILE": certifi.where(),
        "SMTP_USERNAME": "ada",
        "SMTP_PASSWORD": "pa$$ word",
    },
)
SANDBOX = {"NURTURE_SANDBOX", "NURTURE_SANDBOX_URL", "NURTURE_TELEGRAM"}
"""What compose.yaml says beside, for an installation that sends nothing."""

each = pytest.mark.parametrize("overlay", OVERLAYS)
rooms = pytest.mark.parametrize("room", ROOMS)


def config_of(room: str) -> Any:
    return importlib.import_module(f"nurture_{room}.config").Config


def fields(kind: Any) -> dict[str, bool]:
    """Names in the environment, and whether each is required."""
    return {field.name.upper(): field.required for field in msgspec.structs.fields(kind)}


def parts(one: Workload) -> set[str]:
    """What is told only to be put into other values."""
    return {name for entry in one.env.values() for name in re.findall(r"\$\((\w+)\)", entry.get("value", ""))}


@each
@rooms
def test_a_service_is_told_what_it_needs_and_nothing_it_does_not_know(overlay: str, room: str) -> None:
    one = workload(overlay, room)
    known = fields(config_of(room))
    assert set(one.env) - parts(one) <= set(known)
    optional = {key for kind in ("secretKeyRef", "configMapKeyRef") for _, key, may in references(one, kind) if may}
    assert {name for name, required in known.items() if required} <= set(one.env) - optional


@each
@rooms
@pytest.mark.parametrize("secret", [EMAIL_ONLY, BOTH, RELAY], ids=["email", "both", "smtp"])
def test_a_service_would_start_with_it(overlay: str, room: str, secret: dict[str, str]) -> None:
    one = workload(overlay, room)
    environ = environment(overlay, one, secret)
    if "SMTP_CA_FILE" in environ:
        assert environ["SMTP_CA_FILE"] == compose_env.AUTHORITY
        environ["SMTP_CA_FILE"] = certifi.where()
    told: Any = settings.load(config_of(room), environ)
    if hasattr(told, "check"):
        told.check()
    assert told.environment == "production" and told.public_url == ENVIRON["PUBLIC_URL"]
    assert told.database_url.reveal().startswith(f"postgresql://nurture_{room}:")
    assert told.database_url.reveal().endswith(ENVIRON["DATABASE_URL"].partition("@")[2])
    assert told.nats_url == f"nats://{room}:{secret[f'NATS_{room.upper()}_PASSWORD']}@nats:4222"
    if room == "email":
        assert told.from_email == ENVIRON["FROM_EMAIL"]
        if secret is RELAY:
            assert (told.relay.host, told.relay.port, told.relay.tls) == ("mx.example.com", 587, "starttls")
            assert told.relay.password.reveal() == "pa$$ word"
        assert told.resend_rate_limit == (10 if overlay == "example" else 2)
    if room == "gateway":
        assert bool(told.webhook_keys()) is (secret is not RELAY) and told.trust_proxy == (overlay == "example")
    if room == "controller":
        assert told.nats_replicas == (1 if overlay == "small" else 3)
        assert workload(overlay, "nats").spec.get("replicas", 1) == told.nats_replicas


@each
def test_every_key_is_written_and_every_written_key_is_used(overlay: str) -> None:
    used: dict[str, bool] = {}
    for one in workloads(overlay):
        for name, key, optional in references(one, "secretKeyRef"):
            assert name == "nurture"
            used[key] = used.get(key, True) and optional
    assert {key for key, optional in used.items() if not optional} <= set(EMAIL_ONLY) & set(RELAY)
    unused = {kube_secret.ROUTE} if overlay == "small" else set()
    assert set(used) == (set(BOTH) | set(RELAY)) - unused


@each
def test_a_key_of_the_config_map_is_read_by_somebody(overlay: str) -> None:
    """A misspelt one would be passed over without a word."""
    (told,) = [one for one in of_kind(overlay, "ConfigMap") if one["metadata"]["name"].startswith("nurture-")]
    read = {key for one in workloads(overlay) for _, key, _ in references(one, "configMapKeyRef")}
    assert set(told["data"]) <= read
    known = {name for room in ROOMS for name in fields(config_of(room))}
    assert read <= known


@each
def test_a_secret_goes_only_where_it_belongs(overlay: str) -> None:
    held = {one.name: {key for _, key, _ in references(one, "secretKeyRef")} for one in workloads(overlay)}
    everybodys = {"SECRET_KEY", "SECRET_KEY_PREVIOUS", "ENVIRONMENT", "EMAIL_PROVIDER", "PUBLIC_URL", "PUBLISH_SCHEMA"}
    for room in ROOMS:
        assert {key for key in held[room] if key.endswith("DATABASE_URL")} == {kube_secret.database_url_of(room)}
        assert {key for key in held[room] if key.startswith("NATS_")} == {f"NATS_{room.upper()}_PASSWORD"}
    assert held["migrate"] == {"DATABASE_URL", "SECRET_KEY", "PUBLISH_SCHEMA"}
    assert held["scoring"] == everybodys | {"SCORING_DATABASE_URL", "NATS_SCORING_PASSWORD"}
    assert {name for name, keys in held.items() if "RESEND_API_KEY" in keys} == {"email"}
    assert {name for name, keys in held.items() if "SMTP_PASSWORD" in keys} == {"email"}
    assert {name for name, keys in held.items() if "TELEGRAM_BOT_TOKEN" in keys} == {"telegram"}
    assert {name for name, keys in held.items() if "ADMIN_API_KEY" in keys} == {"gateway"}
    assert all(key.startswith("NATS_") for key in held["nats"])


@each
@rooms
def test_compose_tells_a_service_nothing_else(overlay: str, room: str) -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    one = workload(overlay, room)
    assert set(compose[room]["environment"]) - SANDBOX <= set(one.env)
    assert compose[room]["environment"]["NATS_URL"].endswith("@nats:4222")


@each
def test_authorities_are_mounted_where_addresses_and_settings_name_them(overlay: str) -> None:
    for room in ROOMS:
        one = workload(overlay, room)
        maps = {volume["name"]: volume["configMap"] for volume in one.pod["volumes"] if "configMap" in volume}
        found = {mount["mountPath"]: maps.get(mount["name"]) for mount in one.container["volumeMounts"]}
        assert found["/etc/nurture/authority"] == {"name": "nurture-database-authority", "optional": True}
        relays = found.get(str(PurePosixPath(compose_env.AUTHORITY).parent))
        assert relays == ({"name": "nurture-relay-authority", "optional": True} if room == "email" else None)


def test_the_migration_and_the_bus_are_told_what_compose_tells_them() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    assert set(workload("small", "migrate").env) <= set(compose["migrate"]["environment"])
    told = settings.load(Configuration, environment("small", workload("small", "migrate"), BOTH))
    assert told.database_url and told.database_url.reveal() == ENVIRON["DATABASE_URL"]
    assert set(workload("small", "nats").env) - {"GOMEMLIMIT"} == set(compose["nats"]["environment"])


@rooms
def test_probes_ask_for_pages_that_the_service_has(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = workload("production", room)
    image = re.search(
        r"NURTURE_HTTP_HOST=(\S+) NURTURE_HTTP_PORT=(\d+) PORT=(\d+)", (ROOT / "deploy/Dockerfile").read_text()
    )
    assert image and image.groups() == ("0.0.0.0", "8080", "8080")
    assert one.ports() == {"http": 8080}
    for name, value in environment("production", one, BOTH).items():
        monkeypatch.setenv(name, value)
    pages = importlib.import_module(f"nurture_{room}.app").build().pages()
    asked = {probe: one.container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert all(get["path"] in pages and get["port"] == "http" for get in asked.values())
    # A bus or a database that is away is no reason to kill anybody, nor to refuse commands and people's links.
    assert asked["liveness"]["path"] == asked["startup"]["path"] == "/health/live"
    assert asked["readiness"]["path"] == ("/health/serving" if room == "gateway" else "/health/ready")
    # The page takes two seconds where the database hangs.
    assert one.container["readinessProbe"]["timeoutSeconds"] > 2


def test_what_compose_env_writes_beside_is_for_compose_alone() -> None:
    made = compose_env.make({}, {**ENVIRON, "TELEGRAM_BOT_TOKEN": "7000000001:abc"})
    for name in set(BOTH) & set(made):
        assert name in compose_env.GIVEN or name.startswith("NATS_")
