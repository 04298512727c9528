"""What the containers are told: made once, derived the rest, and never a mixture of sandbox and provider."""

import re
import stat
import subprocess
from pathlib import Path

import certifi
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from nurture_chassis.settings import SettingsError
from nurture_local import addresses, compose_env

from tests.journeys.system import CLEAN, NURTURE

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "deploy/compose.yaml").read_text()


def test_it_makes_what_compose_asks_for() -> None:
    made = compose_env.make({}, {})
    asked = set(re.findall(r"\$\{([A-Z_]+)(?::\?[^}]*)?\}", COMPOSE))
    assert asked <= set(made), "these have no default in compose.yaml"
    assert made["NURTURE_SANDBOX"] == "1"
    assert made["RESEND_API_URL"] == made["TELEGRAM_API_URL"] == "http://sandbox:8080"
    assert made["EMAIL_DATABASE_PASSWORD"] == addresses.role_password(made["SECRET_KEY"], "nurture_email")
    secrets = [value for name, value in made.items() if name.endswith(("_PASSWORD", "_KEY", "_TOKEN"))]
    assert min(map(len, secrets)) >= 30


def test_what_was_made_stays_and_a_key_that_comes_later_replaces_the_sandbox() -> None:
    first = compose_env.make({}, {})
    assert compose_env.make(compose_env.read(compose_env.write(first)), {}) == first
    key = {
        "RESEND_API_KEY": "re_live",
        "FROM_EMAIL": "Tea <hello@example.com>",
        "PUBLIC_URL": "https://tea.example.com",
    }
    live = compose_env.make(first, key)
    assert (live["NURTURE_SANDBOX"], live["NURTURE_TELEGRAM"], live["NURTURE_SANDBOX_URL"]) == ("0", "off", "")
    assert live["RESEND_API_URL"] == "https://api.resend.com"
    assert live["RESEND_WEBHOOK_SECRET"] == "", "the sandbox's secret would only hide that none was set"
    assert "TELEGRAM_BOT_TOKEN" not in live
    unchanged = ("SECRET_KEY", "POSTGRES_PASSWORD", "NATS_EMAIL_PASSWORD", "ADMIN_API_KEY")
    assert [live[name] for name in unchanged] == [first[name] for name in unchanged]
    assert compose_env.make(compose_env.read(compose_env.write(live)), {}) == live, (
        "it stays live without the shell's key"
    )


def test_an_earlier_key_is_passed_on_and_passwords_follow_the_new_one() -> None:
    first = compose_env.make({}, {})
    turned = compose_env.make(first, {"SECRET_KEY": "n" * 40, "SECRET_KEY_PREVIOUS": first["SECRET_KEY"]})
    assert (turned["SECRET_KEY"], turned["SECRET_KEY_PREVIOUS"]) == ("n" * 40, first["SECRET_KEY"])
    assert turned["EMAIL_DATABASE_PASSWORD"] == addresses.role_password("n" * 40, "nurture_email")
    assert compose_env.make(turned, {}) == turned, "and both stay"


def test_production_without_keys_is_refused() -> None:
    with pytest.raises(SettingsError, match="RESEND_API_KEY"):
        compose_env.make({}, {"ENVIRONMENT": "production"})


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True), st.text(st.characters(min_codepoint=32, exclude_characters="'\x7f\x85\u2028\u2029", categories=("L", "N", "P", "S", "Zs")), max_size=20)))  # fmt: skip
def test_a_file_is_read_as_it_was_written(settings: dict[str, str]) -> None:
    assert compose_env.read(compose_env.write(settings)) == settings


def test_what_a_file_cannot_hold_is_refused() -> None:
    with pytest.raises(compose_env.NotWritable, match="FROM_EMAIL"):
        compose_env.write({"FROM_EMAIL": "O'Hara <o@example.com>"})


def test_the_command_writes_a_file_for_its_owner_alone_that_a_shell_reads_alike(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    for _ in range(2):
        done = subprocess.run(
            [NURTURE, "compose-env", str(file)], env=CLEAN, text=True, capture_output=True, timeout=60, check=True
        )
        assert "email sandbox, telegram sandbox" in done.stdout
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = compose_env.read(file.read_text())
    assert made["SECRET_KEY"] not in done.stdout
    script = "set -a; . ./.env; env -0"
    shell = subprocess.run(["sh", "-ec", script], cwd=tmp_path, text=True, capture_output=True, timeout=30, check=True)
    seen = dict(line.partition("=")[::2] for line in shell.stdout.split("\0"))
    assert {name: seen.get(name) for name in made} == made


def test_over_smtp_the_sandbox_is_the_relay_until_one_is_named() -> None:
    first = compose_env.make({}, {"EMAIL_PROVIDER": "smtp"})
    assert (first["SMTP_HOST"], first["SMTP_PORT"], first["SMTP_TLS"]) == ("sandbox", "2525", "none")
    assert (first["NURTURE_SANDBOX"], first["RESEND_API_URL"]) == ("1", "http://sandbox:8080")
    assert f'SANDBOX_SMTP_PORT: "{first["SMTP_PORT"]}"' in COMPOSE
    assert compose_env.make(compose_env.read(compose_env.write(first)), {}) == first
    relay = {"SMTP_HOST": "mx.example.com", "FROM_EMAIL": "Tea <hello@example.com>"}
    live = compose_env.make(first, relay | {"SMTP_USERNAME": "tea", "SMTP_PASSWORD": "leaves"})
    assert (live["NURTURE_SANDBOX"], live["NURTURE_TELEGRAM"], live["EMAIL_PROVIDER"]) == ("0", "off", "smtp")
    assert (live["SMTP_HOST"], live["SMTP_PORT"], live["SMTP_TLS"]) == ("mx.example.com", "0", "starttls")
    assert compose_env.make(compose_env.read(compose_env.write(live)), {}) == live


def test_who_names_the_other_provider_is_rid_of_the_one_before() -> None:
    sender = {"FROM_EMAIL": "Tea <hello@example.com>", "PUBLIC_URL": "https://tea.example.com"}
    smtp = {"EMAIL_PROVIDER": "smtp", "SMTP_HOST": "mx.example.com", "SMTP_USERNAME": "tea", "SMTP_PASSWORD": "leaves"}
    resend = {
        "EMAIL_PROVIDER": "resend",
        "RESEND_API_KEY": "re_" + "a" * 24,
        "RESEND_WEBHOOK_SECRET": "whsec_" + "a" * 24,
    }
    relayed = compose_env.make({}, sender | smtp)
    back = compose_env.make(relayed, resend)
    assert (back["EMAIL_PROVIDER"], back["RESEND_API_KEY"]) == ("resend", resend["RESEND_API_KEY"])
    assert not [name for name, value in back.items() if name.startswith("SMTP_") and value in smtp.values()]
    assert back["FROM_EMAIL"] == sender["FROM_EMAIL"]
    again = compose_env.make(back, smtp)
    assert again["SMTP_HOST"] == "mx.example.com" and resend["RESEND_API_KEY"] not in again.values()


def test_a_relays_authority_is_mounted_where_the_service_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = {"EMAIL_PROVIDER": "smtp", "SMTP_HOST": "mx.example.com", "FROM_EMAIL": "Tea <hello@example.com>"}
    without = compose_env.make({}, relay)
    assert not without["SMTP_CA_FILE"] and "SMTP_CA_MOUNTED" not in without
    monkeypatch.chdir(Path(certifi.where()).parent)
    made = compose_env.make(without, {"SMTP_CA_FILE": Path(certifi.where()).name})
    assert (made["SMTP_CA_FILE"], made["SMTP_CA_MOUNTED"]) == (certifi.where(), compose_env.AUTHORITY)
    assert compose_env.make(compose_env.read(compose_env.write(made)), {}) == made
    email = yaml.safe_load(COMPOSE)["services"]["email"]
    # Something has to stand there without one, and no substitution may be newer than compose 1.29.
    assert email["volumes"] == [f"${{SMTP_CA_FILE:-./compose.yaml}}:{compose_env.AUTHORITY}:ro"]
    assert email["environment"]["SMTP_CA_FILE"] == "${SMTP_CA_MOUNTED:-}"
    assert not re.search(r"\$\{\w+:?\+", COMPOSE)
    with pytest.raises(SettingsError, match="SMTP_CA_FILE points to a file that cannot be read"):
        compose_env.make(made, {"SMTP_CA_FILE": "/nowhere/ca.crt"})
