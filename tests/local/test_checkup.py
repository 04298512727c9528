"""doctor: each check judged from facts; what it looks at over REST alone; that it never shows a secret."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from nurture_contracts.topology import CONSUMERS, STREAMS
from nurture_local import bus_state, cli, inspection
from nurture_local.bus_state import BusState, ConsumerConfig, ConsumerState, Held, StreamConfig, StreamState
from nurture_local.checkup import channels, running, stores
from nurture_local.checkup.diagnosis import diagnose
from nurture_local.checkup.facts import Facts, Front, Process
from nurture_local.checkup.finding import Finding

Served = Callable[[Callable[[httpx.Request], httpx.Response]], list[httpx.Request]]
NANO = 1_000_000_000
LIVE_KEY = "re_" + "a1" * 12


def a_bus(**backlogs: int) -> BusState:
    """A bus as the contracts want it, with messages before some consumers."""
    streams = [
        StreamState(
            StreamConfig(
                one.name, list(one.subjects), "limits", int(one.max_age * NANO), int(one.duplicate_window * NANO)
            ),
            Held(),
        )
        for one in STREAMS
    ]
    consumers = [
        ConsumerState(
            one.stream,
            one.durable,
            ConsumerConfig(one.message.subject, "explicit", int(one.ack_wait * NANO), one.max_ack_pending, -1),
            num_pending=backlogs.get(one.durable.replace("-", "_"), 0),
        )
        for one in CONSUMERS
    ]
    return BusState(streams, consumers)


def settings(live: bool, **more: str) -> dict[str, Any]:
    """Settings as the supervisor tells them of an instance that is well."""
    env = {
        "gateway": {"PUBLIC_URL": "https://mail.acme.io", "RESEND_WEBHOOK_SECRET": "whsec_" + "A" * 32},
        "email": {"FROM_EMAIL": "Acme <hello@acme.io>", "RESEND_API_KEY": LIVE_KEY},
        "telegram": {"TELEGRAM_BOT_TOKEN": "123456789:" + "b" * 35, "TELEGRAM_UPDATES": "poll"},
    }
    if not live:
        env["email"]["NURTURE_SANDBOX"] = "1"
    for name, value in more.items():
        next((room for room in env.values() if name in room), env["email"])[name] = value
    return inspection.settings_in_force(env)


def healthy(live: bool = True, **more: Any) -> Facts:
    """Everything is well, and mails are real."""
    record = {
        "problem": None,
        "pending": [],
        "skew": 0.1,
        "email": {"parked_until": None, "park_reason": None, "rate": 10.0},
        "telegram": {"ready": True, "bot_username": "acme_bot", "updates": "poll", "problem": None,
                     "parked_until": None, "park_reason": None},
        "webhooks": {"age": 65.0, "unanswered": 0},
        "losses": {"stream": None, "reason": None, "age": None, "silent": []},
    }  # fmt: skip
    facts = Facts(
        where=".nurture",
        pid=7,
        processes={"gateway": Process("ready", "gateway"), "email": Process("ready", "service")},
        front=Front(
            "http://127.0.0.1:8001", health={"service": "nurture", "problems": []}, letters=0, ahead=0.2, holds=[]
        ),
        settings=settings(live),
        record=record,
        bus=a_bus(),
        syncs=True,
    )
    for name, value in more.items():
        part, _, key = name.partition("__")
        if key:
            facts.record[part][key] = value  # pyright: ignore[reportOptionalSubscript]
        elif part in record:
            facts.record[part] = value  # pyright: ignore[reportOptionalSubscript]
        else:
            setattr(facts, part, value)
    return facts


def lost(age: float, *silent: str) -> dict[str, Any]:
    return {"stream": "COMMANDS", "reason": "it is gone", "age": age, "silent": list(silent)}


def test_all_is_well() -> None:
    findings = diagnose(healthy())
    assert {finding.verdict for finding in findings} == {"ok"}
    assert len({finding.check for finding in findings}) == len(findings)
    assert all(finding.found for finding in findings)


def held(sequence_type: str, reason: str, **more: Any) -> Front:
    hold = {"sequence_type": sequence_type, "reason": reason, "at": "2026-01-05T09:00:00Z", **more}
    return Front("http://x", health={}, letters=0, ahead=0.2, holds=[hold])


def found(facts: Facts, check: str) -> Finding:
    (finding,) = [finding for finding in diagnose(facts) if finding.check == check]
    return finding


@pytest.mark.parametrize(
    ("check", "verdict", "said", "facts"),
    [
        ("email", "fail", "stopped", healthy(processes={"email": Process("stopped", "service")})),
        ("email", "fail", "not ready: NATS is not connected",
         healthy(processes={"email": Process("ready", "service", ["NATS is not connected"])})),
        ("rest api", "fail", "cannot reach", healthy(front=Front("http://x", trouble="cannot reach http://x"))),
        ("api key", "fail", "401", healthy(front=Front("http://x", health={}, key_trouble="401 API key needed"))),
        ("dead letters", "warn", "2 waiting", healthy(front=Front("http://x", health={}, letters=2))),
        ("holds", "warn", "everything is paused since 2026-01-05 09:00", healthy(front=held("*", "paused"))),
        ("holds", "warn", "onboarding is paused", healthy(front=held("onboarding", "paused"))),
        ("holds", "fail", "nothing is sent: it is a copy", healthy(front=held("*", "restored", detail="it is a copy"))),
        ("holds", "skip", "did not tell", healthy(front=Front("http://x", health={}, letters=0))),
        ("email", "warn", "holds back: the database is older",
         healthy(processes={"email": Process("ready", "service", [], ["the database is older than the bus"])})),
        ("migrations", "fail", "pending: email/0002_more.sql", healthy(pending=["email/0002_more.sql"])),
        ("migrations", "fail", "does not answer", healthy(problem="the database does not answer (TimeoutError)")),
        ("bus", "fail", "does not answer", healthy(bus=None, bus_trouble="the bus does not answer")),
        ("bus durability", "fail", "now and then", healthy(syncs=False)),
        ("streams", "fail", "EVENTS is missing", healthy(bus=BusState(a_bus().streams[:1], a_bus().consumers))),
        ("consumers", "fail", f"and {len(CONSUMERS) - 3} more", healthy(bus=BusState(a_bus().streams, []))),
        ("bus losses", "warn", "COMMANDS 3 min ago: it is gone; all was said again", healthy(losses=lost(180))),
        ("bus losses", "fail", "not said again by email, telegram", healthy(losses=lost(180, "email", "telegram"))),
        ("bus losses", "ok", "the last was COMMANDS 2 d ago", healthy(losses=lost(180_000))),
        ("consumer lag", "warn", "email-send 1001 behind", healthy(bus=a_bus(email_send=1_001))),
        ("clock", "warn", "the database is 5 s behind", healthy(skew=-5.0)),
        ("clock", "fail", "the database is 40 s ahead", healthy(skew=40.0)),
        ("clock", "fail", "messages are real", healthy(speed=60)),
        ("public url", "fail", "this machine only", healthy(settings=settings(True, PUBLIC_URL="http://127.0.0.1:8001"))),
        ("public url", "fail", "not https", healthy(settings=settings(True, PUBLIC_URL="http://mail.acme.io"))),
        ("sender", "fail", "hello", healthy(settings=settings(True, FROM_EMAIL="hello"))),
        ("sender", "fail", "cannot be verified", healthy(settings=settings(True, FROM_EMAIL="A <a@nurture.localhost>"))),
        ("sender", "warn", "to yourself", healthy(settings=settings(True, FROM_EMAIL="onboarding@resend.dev"))),
        ("resend key", "fail", "not set", healthy(settings=settings(True, RESEND_API_KEY=""))),
        ("resend key", "warn", "looks unlike", healthy(settings=settings(True, RESEND_API_KEY="secret-sesame"))),
        ("resend key", "ok", "set (not shown)",
         healthy(settings=settings(True, RESEND_API_KEY="secret-sesame", RESEND_API_URL="https://relay.acme.io"))),
        ("webhook secret", "fail", "missing", healthy(settings=settings(True, RESEND_WEBHOOK_SECRET=""))),
        ("rate limit", "ok", "10 requests/s, as last stated", healthy()),
        ("rate limit", "ok", "2 requests/s until", healthy(email__rate=None)),
        ("email channel", "fail", "parked until 2026-01-05: invalid key",
         healthy(email__parked_until="2026-01-05", email__park_reason="invalid key")),
        ("webhooks", "warn", "none yet", healthy(webhooks__age=None)),
        ("webhooks", "ok", "none yet", healthy(live=False, webhooks__age=None)),
        ("webhooks", "warn", "2 h ago, and 3 requests", healthy(webhooks__age=7_200.0, webhooks__unanswered=3)),
        ("telegram mode", "ok", "off", healthy(settings=settings(True, TELEGRAM_BOT_TOKEN=""))),
        ("telegram bot", "ok", "@acme_bot", healthy()),
        ("telegram bot", "fail", "Telegram refuses",
         healthy(telegram__ready=False, telegram__problem="Telegram refuses TELEGRAM_BOT_TOKEN")),
        ("telegram updates", "warn", "another poller uses this token; sending goes on",
         healthy(telegram__problem="another poller uses this token")),
        ("telegram channel", "fail", "parked", healthy(telegram__parked_until="2026-01-05")),
        ("telegram bot", "skip", "did not tell", healthy(telegram=None)),
        ("webhooks", "skip", "did not tell", healthy(email=None)),
    ],
)  # fmt: skip
def test_a_fault_is_found_and_comes_with_a_way_out(check: str, verdict: str, said: str, facts: Facts) -> None:
    finding = found(facts, check)
    assert finding.verdict == verdict
    assert said in finding.found
    assert bool(finding.fix) == (verdict in ("warn", "fail"))


def over_smtp(**more: str) -> dict[str, Any]:
    return settings(
        True, EMAIL_PROVIDER="smtp", RESEND_API_KEY="", RESEND_WEBHOOK_SECRET="", SMTP_HOST="mx.acme.io", **more
    )


@pytest.mark.parametrize(
    ("check", "verdict", "said", "facts"),
    [
        ("email mode", "ok", "LIVE (SMTP)", healthy(settings=over_smtp())),
        ("smtp relay", "ok", "mx.acme.io, starttls, without a login", healthy(settings=over_smtp())),
        ("smtp relay", "ok", "mx.acme.io:2587, starttls, as ada",
         healthy(settings=over_smtp(SMTP_PORT="2587", SMTP_USERNAME="ada", SMTP_PASSWORD="hush"))),
        ("smtp relay", "ok", "starttls, trusting /etc/ours.pem, without", healthy(settings=over_smtp(SMTP_CA_FILE="/etc/ours.pem"))),
        ("smtp relay", "warn", "mx.acme.io, none", healthy(settings=over_smtp(SMTP_TLS="none"))),
        ("rate limit", "ok", "10 emails/s", healthy(settings=over_smtp())),
        ("rate limit", "ok", "14 emails/s", healthy(settings=over_smtp(SMTP_RATE_LIMIT="14"))),
        ("webhooks", "ok", "SMTP has none", healthy(settings=over_smtp(), webhooks__unanswered=3)),
        ("email channel", "fail", "login_refused_535", healthy(settings=over_smtp(), email__parked_until="2026-01-05",
         email__park_reason="login_refused_535")),
    ],
)  # fmt: skip
def test_over_smtp_the_relay_is_looked_at_and_nothing_of_resends(
    check: str, verdict: str, said: str, facts: Facts
) -> None:
    finding = found(facts, check)
    assert finding.verdict == verdict and said in finding.found
    assert not [one.check for one in diagnose(facts) if one.check in ("resend key", "webhook secret")]
    assert "hush" not in json.dumps(facts.settings)


def test_one_fault_does_not_look_like_two() -> None:
    stopped = healthy(processes={"email": Process("stopped", "service")})
    assert [one.check for one in diagnose(stopped) if one.verdict != "ok"] == ["email"]


def test_without_an_instance_there_is_one_finding() -> None:
    (alone,) = diagnose(Facts(where=".nurture"))
    assert (alone.verdict, alone.found) == ("fail", "none runs in .nurture")
    (killed,) = diagnose(Facts(where=".nurture", leftovers=["nats"]))
    assert "still there: nats" in killed.found
    (silent,) = diagnose(Facts(where=".nurture", pid=7, trouble="the supervisor does not answer"))
    assert silent.verdict == "fail"


def test_repeated_deliveries_are_a_warning() -> None:
    tried = [msgspec.structs.replace(one, num_redelivered=2) for one in a_bus().consumers[:1]]
    bus = BusState(a_bus().streams, tried + a_bus().consumers[1:])
    (lag,) = [one for one in stores.bus(healthy(bus=bus)) if one.check == "consumer lag"]
    assert (lag.verdict, lag.found) == ("warn", f"{tried[0].durable} tries 2 again")


def test_no_secret_is_told() -> None:
    told = json.dumps([settings(True), settings(False), settings(True, RESEND_API_KEY="x" * 30)])
    assert not any(secret in told for secret in (LIVE_KEY, "x" * 30, "A" * 32, "b" * 35))
    assert settings(True)["email"]["secret"] == "well-formed"


@pytest.mark.parametrize(
    ("env", "mode"),
    [
        ({}, "off"),
        ({"TELEGRAM_BOT_TOKEN": "1:a"}, "LIVE (Telegram)"),
        ({"TELEGRAM_BOT_TOKEN_FILE": "/run/token"}, "LIVE (Telegram)"),
        ({"TELEGRAM_BOT_TOKEN": "1:a", "TELEGRAM_API_URL": "http://127.0.0.1:5000"}, "sandbox"),
    ],
)
def test_telegram_mode(env: dict[str, str], mode: str) -> None:
    assert inspection.telegram_mode(env) == mode


def test_spans_read_well() -> None:
    assert [channels.span(seconds) for seconds in (-1, 59, 60, 3_600, 200_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "1 h",
        "2 d",
    ]


def _remote(key_works: bool) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/":
            return httpx.Response(200, json={"service": "nurture", "email": "sandbox", "problems": []})
        if request.url.path == "/health/live":
            return httpx.Response(200, json={})
        if not key_works:
            return httpx.Response(401, json={"title": "API key needed"})
        if request.url.path == "/admin/api/nurture/holds":
            return httpx.Response(200, json=[])
        letters = [{"replayed_at": None}, {"replayed_at": "2026-01-05T09:00:00Z"}]
        return httpx.Response(200, json={"items": letters, "next": None})

    return answer


@pytest.mark.usefixtures("nowhere")
def test_over_rest_alone_it_says_what_it_could_not_check(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NURTURE_URL", "http://gateway.test")
    served(_remote(key_works=True))
    assert cli.call(["doctor", "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    verdicts = {check["check"]: check["verdict"] for check in told["checks"]}
    assert told["ok"] is True
    assert (verdicts["rest api"], verdicts["api key"], verdicts["dead letters"]) == ("ok", "ok", "warn")
    for unseen in ("services", "migrations", "bus", "public url", "email settings", "telegram bot", "clock"):
        assert verdicts[unseen] == "skip"
    served(_remote(key_works=False))
    assert cli.call(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "✗ api key" in shown and "401 API key needed · wanted: accepted · fix: set NURTURE_API_KEY" in shown
    assert "1 failed" in shown.splitlines()[-1] and "not checked" in shown.splitlines()[-1]


@pytest.mark.usefixtures("nowhere")
def test_nothing_here_is_a_failed_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["doctor"]) == 1
    assert "none runs in .nurture" in capsys.readouterr().out


def test_checks_are_pure() -> None:
    facts = healthy()
    before = msgspec.json.encode(facts)
    assert running.processes(facts) == running.processes(facts)
    assert bus_state.consumer_faults(a_bus()) == []
    diagnose(facts)
    assert msgspec.json.encode(facts) == before
