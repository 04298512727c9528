"""What each process is told: its own secrets and nobody else's, the sandbox or the real provider, never both."""

import os
import re
import socket
from pathlib import Path

import certifi
import pytest
from nurture_chassis.settings import SettingsError
from nurture_local import configuration, launch, plan, ports
from nurture_local.configuration import Options
from nurture_local.instance import ClockOrigin, DataDir, State
from nurture_local.processes import ChildSpec, Stage

ELSEWHERE = {"DATABASE_URL": "postgresql://admin:root-pw@db.example/nurture", "NATS_URL": "nats://bus.example:4222"}
LIVE = {"RESEND_API_KEY": "re_real", "FROM_EMAIL": "Nurture <hello@example.com>"}
PRODUCTION = {
    "ENVIRONMENT": "production",
    "RESEND_WEBHOOK_SECRET": "whsec_cmVhbA==",
    "SECRET_KEY": "a-long-secret-key",
    "ADMIN_API_KEY": "an-api-key",
    **LIVE,
}


def make(
    folder: Path, environ: dict[str, str] | None = None, options: Options | None = None
) -> tuple[plan.Plan, dict[str, ChildSpec]]:
    environ = ELSEWHERE | (environ or {})
    data = DataDir(folder)
    data.create()
    made = plan.make(data, configuration.load(environ), options or Options(), {"PATH": os.environ["PATH"], **environ})
    return made, {spec.name: spec for spec in made.specs}


def test_without_a_key_there_is_a_sandbox_and_everything_says_so(tmp_path: Path) -> None:
    made, children = make(tmp_path)
    assert list(children) == ["sandbox", "gateway", "controller", "email", "telegram", "scoring"]
    assert made.state.mode == "sandbox"
    assert children["email"].env["RESEND_API_URL"] == made.state.sandbox
    assert children["email"].env["RESEND_API_KEY"].startswith("re_sandbox_")
    assert children["email"].env["FROM_EMAIL"] == "Nurture <hello@nurture.localhost>"
    secret = children["sandbox"].env["RESEND_WEBHOOK_SECRET"]
    assert children["gateway"].env["RESEND_WEBHOOK_SECRET"] == secret
    assert children["sandbox"].env["SANDBOX_WEBHOOK_URL"] == f"{made.state.gateway}/admin/api/email/webhook"
    assert all(spec.env.get("NURTURE_SANDBOX") == "1" for name, spec in children.items() if name != "sandbox")


def test_with_a_key_there_is_none(tmp_path: Path) -> None:
    made, children = make(tmp_path, LIVE)
    assert "sandbox" not in children
    assert made.state.mode == "LIVE (Resend)"
    assert made.state.sandbox is None
    assert children["email"].env["RESEND_API_URL"] == "https://api.resend.com"
    # The generated webhook secret is the sandbox's: with a real provider it must not look like one that was set.
    assert "RESEND_WEBHOOK_SECRET" not in children["gateway"].env
    assert not any("NURTURE_SANDBOX" in spec.env for spec in children.values())


BOT = {"TELEGRAM_BOT_TOKEN": "123456:a-real-bot-token_of-botfather"}
TELEGRAM_SETTINGS = (
    "TELEGRAM_BOT_TOKEN",
    "TELEGRAM_API_URL",
    "TELEGRAM_LINK_URL",
    "TELEGRAM_UPDATES",
    "TELEGRAM_WEBHOOK_SECRET",
)


def test_without_a_bot_the_sandbox_is_telegram_too(tmp_path: Path) -> None:
    made, children = make(tmp_path)
    bot = children["telegram"].env
    assert re.fullmatch(r"\d+:[A-Za-z0-9_-]{20,}", bot["TELEGRAM_BOT_TOKEN"])
    assert bot["TELEGRAM_API_URL"] == made.state.sandbox
    assert bot["TELEGRAM_UPDATES"] == "poll"
    for name in ("telegram", "gateway", "controller"):
        assert children[name].env["TELEGRAM_LINK_URL"] == f"{made.state.sandbox}/t.me"
    assert children["gateway"].env["TELEGRAM_WEBHOOK_SECRET"] == bot["TELEGRAM_WEBHOOK_SECRET"]
    assert {spec.env["NURTURE_TELEGRAM"] for name, spec in children.items() if name != "sandbox"} == {"sandbox"}
    token = bot["TELEGRAM_BOT_TOKEN"]
    assert [name for name, spec in children.items() if token in spec.env.values()] == ["telegram"]


@pytest.mark.parametrize("stray", [{}, {"TELEGRAM_API_URL": "https://api.telegram.org"}])
def test_the_sandboxs_bot_never_calls_telegram(tmp_path: Path, stray: dict[str, str]) -> None:
    made, children = make(tmp_path, stray)
    assert children["telegram"].env["TELEGRAM_API_URL"] == made.state.sandbox


def test_a_real_bot_beside_sandboxed_email(tmp_path: Path) -> None:
    made, children = make(tmp_path, BOT | {"TELEGRAM_UPDATES": "off"})
    assert made.state.mode == "sandbox" and made.state.live
    assert children["email"].env["RESEND_API_URL"] == made.state.sandbox
    bot = children["telegram"].env
    assert bot["TELEGRAM_BOT_TOKEN"] == BOT["TELEGRAM_BOT_TOKEN"]
    assert (bot["TELEGRAM_API_URL"], bot["TELEGRAM_LINK_URL"]) == ("https://api.telegram.org", "https://t.me")
    assert bot["TELEGRAM_UPDATES"] == "off" and bot["NURTURE_TELEGRAM"] == "LIVE (Telegram)"
    assert made.state.sandbox and made.state.sandbox not in bot.values()
    assert children["gateway"].env["TELEGRAM_LINK_URL"] == "https://t.me"


@pytest.mark.parametrize("environ", [LIVE, PRODUCTION])
def test_with_real_email_and_no_bot_telegram_is_off(tmp_path: Path, environ: dict[str, str]) -> None:
    _, children = make(tmp_path, environ | {"TELEGRAM_LINK_URL": "https://t.me", "TELEGRAM_UPDATES": "webhook"})
    assert "sandbox" not in children
    for spec in children.values():
        assert not [name for name in TELEGRAM_SETTINGS if name in spec.env]
        assert spec.env["NURTURE_TELEGRAM"] == "off"


def test_both_live(tmp_path: Path) -> None:
    made, children = make(tmp_path, LIVE | BOT)
    assert made.state.sandbox is None and "sandbox" not in children
    assert children["telegram"].env["NURTURE_TELEGRAM"] == "LIVE (Telegram)"


def test_each_process_gets_only_its_own_secrets(tmp_path: Path) -> None:
    _, children = make(tmp_path, PRODUCTION | {"TELEGRAM_BOT_TOKEN": "123:abc"})
    holders = {
        "re_real": {"email"},
        "an-api-key": {"gateway"},
        "whsec_cmVhbA==": {"gateway"},
        "123:abc": {"telegram"},
        "root-pw": set(),
    }
    for secret, allowed in holders.items():
        found = {name for name, spec in children.items() if any(secret in value for value in spec.env.values())}
        assert found == allowed, secret
    for spec in children.values():
        assert not any(secret in word for word in spec.argv for secret in (*holders, "a-long-secret-key"))


def test_each_service_has_a_database_role_of_its_own(tmp_path: Path) -> None:
    _, children = make(tmp_path)
    urls = {name: children[name].env["DATABASE_URL"] for name in ("gateway", "controller", "email")}
    assert all(url.startswith(f"postgresql://nurture_{name}:") for name, url in urls.items())
    assert all(url.endswith("@db.example/nurture") for url in urls.values())
    assert len(set(urls.values())) == 3


def test_replicas_share_a_role_and_not_a_port(tmp_path: Path) -> None:
    _, children = make(tmp_path, options=Options(replicas={"email": 2}))
    one, two = children["email"], children["email-2"]
    assert one.argv == two.argv
    assert one.env["DATABASE_URL"] == two.env["DATABASE_URL"]
    assert one.env["NURTURE_HTTP_PORT"] != two.env["NURTURE_HTTP_PORT"]


def test_another_run_has_the_same_secrets_and_ports(tmp_path: Path) -> None:
    made, first = make(tmp_path)
    assert first["telegram"].env["TELEGRAM_BOT_TOKEN"]
    DataDir(tmp_path).write(made.state)
    _, second = make(tmp_path)
    assert {name: spec.env for name, spec in first.items()} == {name: spec.env for name, spec in second.items()}


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    made, children = make(tmp_path / "data", {"ADMIN_API_KEY_FILE": str(tmp_path / "key")})
    assert made.api_key == "from-a-file"
    assert "ADMIN_API_KEY_FILE" not in children["email"].env


def test_the_gateway_stops_first_and_the_database_last(tmp_path: Path) -> None:
    _, children = make(tmp_path)
    assert children["gateway"].stage == max(Stage)
    assert Stage.SERVICE > Stage.PROVIDER > Stage.BUS > Stage.DATABASE


def test_the_clock_is_one_for_all(tmp_path: Path) -> None:
    _, children = make(tmp_path, options=Options(speed=1440))
    clocks = {spec.env["NURTURE_CLOCK"] for spec in children.values()}
    assert len(clocks) == 1
    assert clocks.pop().startswith("1440")


def test_a_clock_that_runs_ahead_never_goes_live(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.create()
    data.write(State(clock=ClockOrigin(1, 0.0, 9e9), stopped_at=1.0))
    with pytest.raises(plan.Refused, match="--fresh"):
        make(tmp_path, LIVE)


def test_loopback_never_goes_through_a_proxy() -> None:
    env = plan.inherited({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "intranet"})
    assert env["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert "NO_PROXY" not in plan.inherited({"PATH": "/bin"})


def test_production_names_everything_that_is_missing() -> None:
    with pytest.raises(SettingsError) as failure:
        configuration.load({"ENVIRONMENT": "production", "SECRET_KEY": "x"})
    for name in ("RESEND_API_KEY", "RESEND_WEBHOOK_SECRET", "ADMIN_API_KEY"):
        assert name in str(failure.value)
    assert "SECRET_KEY," not in str(failure.value)
    assert configuration.load(PRODUCTION).live


def test_a_live_key_needs_a_sender() -> None:
    with pytest.raises(SettingsError, match="FROM_EMAIL"):
        configuration.load({"RESEND_API_KEY": "re_real"})


def test_a_bot_token_has_a_form() -> None:
    with pytest.raises(SettingsError, match="TELEGRAM_BOT_TOKEN") as failure:
        configuration.load({"TELEGRAM_BOT_TOKEN": "my secret word"})
    assert "secret word" not in str(failure.value)


def test_speed_is_for_the_sandbox_only() -> None:
    with pytest.raises(SettingsError, match="sandbox only"):
        configuration.check_options(Options(speed=2), configuration.load(LIVE))
    with pytest.raises(SettingsError, match="TELEGRAM_BOT_TOKEN"):
        configuration.check_options(Options(speed=2), configuration.load(BOT))
    with pytest.raises(SettingsError, match="above 0"):
        configuration.check_options(Options(speed=0), configuration.load({}))
    configuration.check_options(Options(speed=2), configuration.load({}))


def test_replicas_are_read() -> None:
    assert configuration.replicas(["email=2", "scoring=1"]) == {"email": 2, "scoring": 1}
    for word in ("gateway=2", "email", "email=0", "email=x", "=2"):
        with pytest.raises(SettingsError, match="--replicas"):
            configuration.replicas([word])


def test_what_is_shown_of_somebody_elses_servers_holds_no_password(tmp_path: Path) -> None:
    bus = "nats://operator:bus-pw@one.example:4222, nats://operator:bus-pw@two.example:4222"
    made, _ = make(tmp_path, {"NATS_URL": bus})
    shown = launch.view(DataDir(tmp_path), made)
    assert shown["nats"] == "nats://operator@one.example:4222,nats://operator@two.example:4222"
    assert shown["database"] == "postgresql://admin@db.example/nurture"
    assert {spec.env["NATS_URL"] for spec in made.specs if spec.stage in (Stage.SERVICE, Stage.GATEWAY)} == {bus}


RELAY = {"EMAIL_PROVIDER": "smtp", "SMTP_HOST": "mx.example.com", "FROM_EMAIL": "Nurture <hello@example.com>"}
LOGIN = {"SMTP_USERNAME": "nurture", "SMTP_PASSWORD": "a-password-of-mine"}


def test_over_smtp_without_a_host_the_sandbox_is_the_relay(tmp_path: Path) -> None:
    made, children = make(tmp_path, {"EMAIL_PROVIDER": "smtp"})
    assert made.state.mode == "sandbox (SMTP)" and made.state.sandbox
    email = children["email"].env
    assert (email["EMAIL_PROVIDER"], email["SMTP_HOST"], email["SMTP_TLS"]) == ("smtp", "127.0.0.1", "none")
    assert email["SMTP_PORT"] == children["sandbox"].env["SANDBOX_SMTP_PORT"]
    assert "RESEND_API_KEY" not in email and children["gateway"].env["EMAIL_PROVIDER"] == "smtp"


def test_without_smtp_the_sandbox_takes_no_mails_over_it(tmp_path: Path) -> None:
    _, children = make(tmp_path)
    assert "SANDBOX_SMTP_PORT" not in children["sandbox"].env


def test_a_relay_is_live_and_its_password_is_the_email_services_alone(tmp_path: Path) -> None:
    made, children = make(tmp_path, RELAY | LOGIN | {"RESEND_API_KEY": "re_of_before"})
    assert made.state.mode == "LIVE (SMTP)" and made.state.live and "sandbox" not in children
    assert {name for name, spec in children.items() if "a-password-of-mine" in spec.env.values()} == {"email"}
    assert children["email"].env["SMTP_HOST"] == "mx.example.com"
    assert not any("re_of_before" in spec.env.values() for spec in children.values())
    assert not any("a-password-of-mine" in word for spec in children.values() for word in spec.argv)


def test_a_relays_authority_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(certifi.where()).parent)
    _, children = make(tmp_path, RELAY | {"SMTP_CA_FILE": Path(certifi.where()).name})
    assert {name for name, spec in children.items() if "SMTP_CA_FILE" in spec.env} == {"email"}
    assert children["email"].env["SMTP_CA_FILE"] == certifi.where()


def test_production_over_smtp_needs_no_key_of_resends() -> None:
    production = {"ENVIRONMENT": "production", "SECRET_KEY": "s" * 32, "ADMIN_API_KEY": "a" * 32}
    assert configuration.load(production | RELAY).live
    with pytest.raises(SettingsError, match="SMTP_HOST"):
        configuration.load(production | {"EMAIL_PROVIDER": "smtp"})


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"SMTP_HOST": "mx.example.com"}, "EMAIL_PROVIDER=smtp"),
        ({"EMAIL_PROVIDER": "smtp", **LIVE}, "SMTP_HOST"),
        ({"EMAIL_PROVIDER": "smtp", **LOGIN}, "SMTP_HOST"),
        ({"EMAIL_PROVIDER": "smtp", "SMTP_CA_FILE": certifi.where()}, "SMTP_HOST"),
        ({**RELAY, "SMTP_CA_FILE": "/nowhere/ca.crt"}, "SMTP_CA_FILE points to a file that cannot be read"),
        ({**RELAY, "SMTP_CA_FILE": __file__}, "SMTP_CA_FILE points to a file without a certificate"),
        ({**RELAY, "SMTP_USERNAME": "nurture"}, "SMTP_PASSWORD"),
        ({"EMAIL_PROVIDER": "smtp", "SMTP_HOST": "mx.example.com"}, "FROM_EMAIL"),
    ],
)
def test_half_of_a_provider_is_named(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as failure:
        configuration.load(environ)
    assert LOGIN["SMTP_PASSWORD"] not in str(failure.value)


def test_speed_names_the_relay_as_what_is_live() -> None:
    with pytest.raises(SettingsError, match="unset SMTP_HOST"):
        configuration.check_options(Options(speed=2), configuration.load(RELAY))


def test_a_free_port_is_none_that_an_outgoing_connection_may_take() -> None:
    taken = {ports.free_port() for _ in range(50)}
    assert all(1024 < port < 32_768 and ports.is_free(port) for port in taken)
    assert ports.free_port(taken) not in taken
    with socket.socket() as listener:
        listener.bind((ports.LOOPBACK, port := ports.free_port()))
        listener.listen()
        assert not ports.is_free(port)
