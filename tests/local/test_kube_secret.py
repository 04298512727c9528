"""The Secret of deploy/kubernetes: made once, real or refused, and the same installation after a move from containers."""

import stat
import subprocess
from pathlib import Path

import certifi
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from nurture_chassis.settings import SettingsError
from nurture_local import addresses, compose_env, kube_secret

from tests.journeys.system import CLEAN, NURTURE

TOLD = {
    "DATABASE_URL": "postgresql://admin:pw@db.example.com/nurture?sslmode=verify-full&sslrootcert=/x/ca.crt",
    "PUBLIC_URL": "https://tea.example.com",
    "FROM_EMAIL": 'O\'Hara "Tea" <hello@example.com>',
    "RESEND_API_KEY": "re_live",
    "RESEND_WEBHOOK_SECRET": "whsec_dGVzdA==",
}


def test_what_was_made_stays_without_the_environment() -> None:
    first = kube_secret.make({}, TOLD)
    again = kube_secret.make(kube_secret.read(kube_secret.write(first)), {})
    assert again == first
    assert kube_secret.make({}, TOLD)["SECRET_KEY"] != first["SECRET_KEY"]
    assert kube_secret.make(first, {"PUBLIC_URL": "https://other.example.com"}) == {
        **first,
        "PUBLIC_URL": "https://other.example.com",
    }


def test_addresses_are_the_administrators_with_each_role_in_it() -> None:
    made = kube_secret.make({}, TOLD)
    password = addresses.role_password(made["SECRET_KEY"], "nurture_email")
    assert made["EMAIL_DATABASE_URL"] == TOLD["DATABASE_URL"].replace("admin:pw", f"nurture_email:{password}")
    assert made["DATABASE_URL"] == TOLD["DATABASE_URL"]
    assert len({made[name] for name in made if name.endswith("_PASSWORD")}) == 7


@pytest.mark.parametrize("name", TOLD)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"missing: {name}\\."):
        kube_secret.make({}, {key: value for key, value in TOLD.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"), [("PUBLIC_URL", "http://tea.example.com"), ("DATABASE_URL", "mysql://db.example.com")]
)
def test_what_cannot_work_in_a_cluster_is_refused_without_being_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as refused:
        kube_secret.make({}, {**TOLD, name: value})
    assert value not in str(refused.value)


def test_an_installation_in_containers_moves_with_its_secrets() -> None:
    contained = compose_env.make({}, {})
    moved = kube_secret.make(contained, TOLD)
    for name in ("SECRET_KEY", "ADMIN_API_KEY", "NATS_EMAIL_PASSWORD", "TELEGRAM_WEBHOOK_SECRET"):
        assert moved[name] == contained[name]
    assert not [name for name, value in moved.items() if "sandbox" in value]


# YAML takes NO, ON and their like for truth values; no setting is called so.
@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9]{1,4}_[A-Z0-9_]{1,4}", fullmatch=True),
        st.text(max_size=20).filter(str.isprintable),
    )
)
def test_a_manifest_is_read_as_it_was_written_and_as_yaml(values: dict[str, str]) -> None:
    text = kube_secret.write(values)
    assert kube_secret.read(text) == values
    assert (yaml.safe_load(text)["stringData"] or {}) == values


def test_what_yaml_could_read_otherwise_is_refused() -> None:
    assert "🍵" in kube_secret.write({"FROM_EMAIL": "🍵 <tea@example.com>"})
    with pytest.raises(compose_env.NotWritable, match="FROM_EMAIL"):
        kube_secret.write({"FROM_EMAIL": "tea\u0085 <tea@example.com>"})


def test_the_command_writes_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    def run(*more: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [NURTURE, "kube-secret", str(tmp_path / "secret.yaml"), *more], env={**CLEAN, **env}, text=True,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    refused = run()
    assert refused.returncode == 2 and "RESEND_API_KEY" in refused.stderr and not (tmp_path / "secret.yaml").exists()
    (tmp_path / "address").write_text(TOLD["DATABASE_URL"] + "\n")
    (tmp_path / "deploy.env").write_text(
        compose_env.write(compose_env.make({}, {"TELEGRAM_BOT_TOKEN": "7000000001:abc"}))
    )
    told = {**TOLD, "DATABASE_URL": "", "DATABASE_URL_FILE": str(tmp_path / "address")}
    done = run("--compose-env", str(tmp_path / "deploy.env"), **told)
    assert done.returncode == 0, done.stderr
    assert "email LIVE (Resend), telegram LIVE (Telegram)" in done.stdout
    file = tmp_path / "secret.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = kube_secret.read(file.read_text())
    assert made["DATABASE_URL"] == TOLD["DATABASE_URL"]
    assert not [name for name in made if made[name] in done.stdout and name != "PUBLIC_URL"]
    file.write_text(kube_secret.write(made).replace('SECRET_KEY: "', 'SECRET_KEY: "\\x'))
    broken = run()
    assert broken.returncode == 1 and "cannot be read" in broken.stderr


def test_a_relay_instead_of_resend() -> None:
    relay = {name: value for name, value in TOLD.items() if not name.startswith("RESEND_")} | {"EMAIL_PROVIDER": "smtp"}
    with pytest.raises(SettingsError, match="missing: SMTP_HOST\\."):
        kube_secret.make({}, relay)
    made = kube_secret.make({}, relay | {"SMTP_HOST": "mx.example.com"})
    assert (made["EMAIL_PROVIDER"], made["SMTP_HOST"], made["SMTP_TLS"]) == ("smtp", "mx.example.com", "starttls")
    assert "RESEND_API_KEY" not in made
    assert kube_secret.make(kube_secret.read(kube_secret.write(made)), {}) == made


def test_a_relays_authority_is_looked_at_here_and_found_in_the_pod() -> None:
    relay = {name: value for name, value in TOLD.items() if not name.startswith("RESEND_")}
    relay |= {"EMAIL_PROVIDER": "smtp", "SMTP_HOST": "mx.example.com"}
    with pytest.raises(SettingsError, match="SMTP_CA_FILE points to a file without a certificate"):
        kube_secret.make({}, relay | {"SMTP_CA_FILE": __file__})
    made = kube_secret.make({}, relay | {"SMTP_CA_FILE": certifi.where()})
    assert made["SMTP_CA_FILE"] == compose_env.AUTHORITY
    # Where it is in the pod, nothing is here.
    assert kube_secret.make(made, {}) == made == kube_secret.make(made, {"SMTP_CA_FILE": compose_env.AUTHORITY})
    contained = compose_env.make({}, relay | {"SMTP_CA_FILE": certifi.where()})
    moved = kube_secret.make(contained, relay)
    assert (moved["SMTP_CA_FILE"], "SMTP_CA_MOUNTED" in moved) == (compose_env.AUTHORITY, False)
