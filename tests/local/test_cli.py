"""The command line: help, usage, exit codes, what it asks of the gateway, and what it prints."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from nurture_local import cli, gateway, screens
from nurture_local.commands import bus, run, trigger
from nurture_local.gateway import Location, locate

Handler = Callable[[httpx.Request], httpx.Response]


pytestmark = pytest.mark.usefixtures("nowhere")


def _body(request: httpx.Request) -> Any:
    return msgspec.json.decode(request.content)


@pytest.mark.parametrize(
    "command", ["", "up", "down", "status", "service stop", "trigger", "watch", "people import", "people sample",
                "sequences ls", "sequences show", "sequences lint", "sequences publish", "email test", "email report", "bus tail",
                "bus ls", "bus lag", "bus dead", "db check", "db plan", "db backup", "db migrate", "db restore", "open", "doctor", "events send", "score", "why",
                "sequences pause", "sequences resume", "demo crash"],
)  # fmt: skip
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call([*command.split(), "--help"]) == 0
    assert f"Usage: nurture {command}".rstrip() in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    heavy = ["asyncpg", "httpx", "nats", "litestar", "faststream", "nurture_local.supervisor", "nurture_local.migrate"]
    code = (
        "import sys; from nurture_local import cli; cli.call(['--help']);"
        f"sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "line", ["upp", "up --prt 3", "up --port x", "trigger ada", "trigger --all a b", "trigger ada onboarding -c novalue",
             "people sample -3", "events send ada", "events send ada attended --at noon", "events send a b --file c",
             "why", "bus dead --replay 7", "doctor -o yaml", "service stop", "status -o yaml", "up --replicas email=none", "up --speed 0",
             "demo crash --kills 0", "demo crash 3"],
)  # fmt: skip
def test_wrong_usage_is_2(line: str) -> None:
    assert cli.call(line.split()) == 2


@pytest.mark.parametrize(
    "line", ["status", "service stop email", "trigger ada onboarding", "watch", "people import -", "sequences ls",
             "email test a@b.example", "email report -", "bus tail", "bus ls", "bus lag", "bus dead", "db check", "open",
             "events send ada attended", "score ada", "why ada", "sequences pause onboarding"],
)  # fmt: skip
def test_nobody_there_is_3(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", type("Empty", (), {"buffer": __import__("io").BytesIO(b"")}))
    assert cli.call(line.split()) == 3
    assert "no instance" in capsys.readouterr().err


def test_down_where_nothing_runs_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["down"]) == 0
    assert "Nothing runs" in capsys.readouterr().out


def test_an_unreachable_url_is_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NURTURE_URL", "http://127.0.0.1:1")
    assert cli.call(["sequences", "ls"]) == 1
    monkeypatch.setenv("NURTURE_API_KEY", "key")
    assert cli.call(["sequences", "ls"]) == 3
    assert "cannot reach http://127.0.0.1:1" in capsys.readouterr().err


def test_the_key_may_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("NURTURE_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("NURTURE_API_KEY_FILE", str(tmp_path / "key"))
    assert cli.call(["sequences", "ls"]) == 1
    assert "NURTURE_API_KEY_FILE points to a file that cannot be read" in capsys.readouterr().err
    (tmp_path / "key").write_text("the-key\n")
    assert locate() == Location("http://127.0.0.1:1", "the-key")


def test_a_problem_is_told_with_detail_and_hint(
    served: Callable[[Handler], list[httpx.Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {"title": "Conflict", "status": 409, "detail": "It runs already.", "hint": "Wait.", "errors": []}
    seen = served(lambda _: httpx.Response(409, json=problem, headers={"content-type": "application/problem+json"}))
    assert cli.call(["trigger", "ada", "onboarding", "-c", "plan=pro", "-c", "seats=3", "--channel", "email"]) == 1
    assert capsys.readouterr().err.split("\n")[:3] == ["✗ 409 Conflict", "  It runs already.", "  hint: Wait."]
    (request,) = seen
    assert request.headers["authorization"] == "Bearer the-key"
    assert request.headers["idempotency-key"]
    assert _body(request) == {
        "user_id": "ada",
        "sequence_type": "onboarding",
        "context": {"plan": "pro", "seats": 3},
        "override_channel": "email",
    }


def test_a_late_refusal_is_told_like_an_early_one(
    served: Callable[[Handler], list[httpx.Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"code": "already_running", "detail": "It runs already.", "hint": "Wait."}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, json={"command_id": "1", "status_url": "/admin/api/commands/1"})
        return httpx.Response(200, json={"state": "settled", "status": 409, "result": result})

    served(answer)
    assert cli.call(["trigger", "ada", "onboarding"]) == 1
    assert "It runs already." in capsys.readouterr().err


def test_findings_about_a_sequence_come_with_what_would_be_right(
    served: Callable[[Handler], list[httpx.Request]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    delay = {"where": "steps[1].delay", "problem": "is no duration", "hint": "such as 1d", "severity": "error"}
    whole = delay | {"where": "", "problem": "not valid TOML"}
    problem = {
        "title": "Cannot be done",
        "detail": "steps[1].delay: is no duration; not valid TOML",
        "hint": "Mend what `findings` lists.",
        "errors": [{"field": one["where"], "reason": one["problem"]} for one in (delay, whole)],
        "findings": [delay, whole],
    }
    answers = iter([(422, problem), (200, {"findings": [delay | {"severity": "warning"}]})])

    def answer(_: httpx.Request) -> httpx.Response:
        status, body = next(answers)
        return httpx.Response(status, json=body)

    served(answer)
    (tmp_path / "tips.toml").write_text("format = ")
    assert cli.call(["sequences", "lint", "tips.toml"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "✗ 422 Cannot be done",
        "  steps[1].delay: is no duration (such as 1d)",
        "  not valid TOML (such as 1d)",
    ]
    assert cli.call(["sequences", "lint", "tips.toml"]) == 0
    assert "  remark: steps[1].delay: is no duration (such as 1d)\n" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["triger", "simulate", "trigger --al ada onboarding", "why", "people sample"])
def test_what_is_wrong_with_a_command_is_told_to_the_end(line: str) -> None:
    code = f"import sys; from nurture_local import cli; sys.exit(cli.call({line.split()}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "60"}
    )
    assert done.returncode == 2
    told = [row[1:-1] for row in done.stderr.splitlines() if row.startswith("│")]
    assert " ".join("".join(told).split()).endswith((".", "...", "?")), done.stderr
    assert not any(name in done.stderr for name in ("--TYPE", "--person", "--number")), (
        "what stands there has no option"
    )


def _live(request: httpx.Request) -> httpx.Response:
    if request.method == "GET":
        reasons = {"no_reachable_channel": 1, "already_running": 1}
        report = {"started": 2, "running": 1, "refused_count": 2, "refused_by_reason": reasons}
        return httpx.Response(200, json={"state": "settled", "status": 200, "result": {}, **report})
    if _body(request).get("confirm") != 4:
        problem = {"title": "Confirmation needed", "code": "confirm_needed", "people": 4}
        return httpx.Response(422, json=problem, headers={"content-type": "application/problem+json"})
    return httpx.Response(202, json={"command_id": "1", "status_url": "/admin/api/commands/1"})


def test_many_people_on_a_live_channel_need_yes(
    served: Callable[[Handler], list[httpx.Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    seen = served(_live)
    assert cli.call(["trigger", "--all", "onboarding"]) == 1
    assert "4 people" in capsys.readouterr().err
    assert len(seen) == 1
    assert cli.call(["trigger", "--all", "onboarding", "--yes"]) == 0
    told = capsys.readouterr().out
    assert "started 2, refused 2" in told and "1 refused: already running" in told
    assert _body(seen[2])["confirm"] == 4
    assert len({request.headers.get("idempotency-key") for request in seen[:3]}) == 3


def test_import_lists_bad_lines_and_fails(
    served: Callable[[Handler], list[httpx.Request]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = {"created": 1, "updated": 0, "unchanged": 0, "rejected": [{"line": 3, "reason": "email: must be [one]"}]}
    seen = served(lambda _: httpx.Response(200, json=done))
    (tmp_path / "people.csv").write_bytes(b"external_id\nada\n")
    assert cli.call(["people", "import", "people.csv"]) == 1
    told = capsys.readouterr()
    assert "created 1, updated 0, unchanged 0, rejected 1" in told.out
    assert "line 3: email: must be [one]" in told.err
    assert seen[0].headers["content-type"] == "text/csv"
    assert seen[0].content == b"external_id\nada\n"
    assert cli.call(["people", "import", "absent.csv"]) == 1


def test_sample_goes_to_stdout_and_back_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["people", "sample", "3", "--seed", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("sample-7-000001,")


def test_sequences_travel_as_toml(
    served: Callable[[Handler], list[httpx.Request]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"type": "welcome", "toml": 'type = "welcome"\n'})
        return httpx.Response(201, json={"command_id": "1", "type": "welcome", "version": 2, "findings": []})

    seen = served(answer)
    assert cli.call(["sequences", "show", "welcome"]) == 0
    assert capsys.readouterr().out == 'type = "welcome"\n'
    (tmp_path / "welcome.toml").write_text('type = "welcome"\n')
    assert cli.call(["sequences", "publish", "welcome.toml"]) == 0
    assert "welcome version 2" in capsys.readouterr().out
    assert cli.call(["sequences", "lint", "welcome.toml"]) == 0
    assert [request.url.path for request in seen] == [
        "/admin/api/sequences/welcome",
        "/admin/api/sequences",
        "/admin/api/sequences/lint",
    ]
    assert seen[1].headers["content-type"] == "application/toml"


def test_context_values_are_json_where_they_can_be() -> None:
    assert trigger.pair("a=1") == ("a", 1)
    assert trigger.pair("a=true") == ("a", True)
    assert trigger.pair("a=b=c") == ("a", "b=c")
    assert trigger.pair("a=") == ("a", "")


STATUS: dict[str, Any] = {
    "ok": True,
    "ready": True,
    "gateway": "http://127.0.0.1:8001",
    "sandbox": "http://127.0.0.1:5000",
    "nats": "nats://127.0.0.1:4222",
    "database": "postgresql://nurture_admin:hush@127.0.0.1:5432/nurture?sslmode=disable",
    "api_key": "nrt_[key]",
    "data_dir": "/data/it's here",
    "mode": "sandbox",
    "speed": 1,
    "processes": {
        "postgres": {"pid": 1, "state": "ready", "stage": "database"},
        "sandbox": {"pid": 2, "state": "ready", "stage": "provider"},
        "gateway": {"pid": 3, "state": "ready", "stage": "gateway"},
        "email": {"pid": 4, "state": "ready", "stage": "service"},
        "email-2": {"pid": None, "state": "stopped", "stage": "service"},
    },
}


def test_status_as_json_has_the_documented_shape(capsys: pytest.CaptureFixture[str]) -> None:
    screens.show(STATUS, "json")
    shown = json.loads(capsys.readouterr().out)
    servers = shown.pop("servers")
    assert list(shown) == ["gateway", "sandbox", "nats", "database", "api_key", "data_dir", "services"]
    assert shown["services"] == {
        "gateway": {"pid": 3, "state": "ready"},
        "email": {"pid": 4, "state": "ready"},
        "email-2": {"pid": None, "state": "stopped"},
    }
    assert set(servers) == {"postgres", "sandbox"}


def test_status_as_environment_is_safe_to_evaluate() -> None:
    lines = [shlex.split(line) for line in screens.as_environment(STATUS).splitlines()]
    values = dict(words[1].split("=", 1) for words in lines)
    assert values["NURTURE_API_KEY"] == "nrt_[key]"
    assert values["NURTURE_DATA_DIR"] == "/data/it's here"
    assert "NURTURE_SANDBOX_URL" not in screens.as_environment(STATUS | {"sandbox": None})


def test_the_table_says_which_provider_and_how_to_listen(capsys: pytest.CaptureFixture[str]) -> None:
    screens.show(STATUS)
    screens.show_next(STATUS)
    out = capsys.readouterr().out
    assert "nats --server nats://127.0.0.1:4222 sub 'nurture.>'" in out
    assert "nrt_[key]" in out
    assert "hush" not in out
    assert [word in out for word in ("people sample", "people import", "trigger --all onboarding")] == [True] * 3
    assert "telegram" not in out
    parked = {"mode": "off"}, {"mode": "sandbox", "bot_username": "it_bot", "problem": "another poller uses this token"}
    for channel, shown in zip(parked, ("off\n", "sandbox @it_bot · another poller uses this token\n"), strict=True):
        screens.show(STATUS | {"telegram": channel})
        assert f"telegram:  {shown}" in capsys.readouterr().out
    assert screens.as_data(STATUS | {"telegram": {"mode": "off"}})["telegram"] == {"mode": "off"}
    screens.show(STATUS | {"mode": "LIVE (Resend)", "sandbox": None})
    assert "email:     LIVE (Resend)" in capsys.readouterr().out


def test_a_bus_message_reads_well() -> None:
    at = datetime(2026, 1, 5, 9, tzinfo=UTC)
    shown = bus.readable("nurture.evt.email.settled", {"Nats-Msg-Id": "7"}, b'{"items": []}', at)
    assert shown == {
        "subject": "nurture.evt.email.settled",
        "id": "7",
        "time": "2026-01-05T09:00:00.000+00:00",
        "headers": {"Nats-Msg-Id": "7"},
        "body": {"items": []},
    }
    assert bus.readable("x", {}, b"\xff", at)["body"] == "�"


def test_an_answer_that_is_no_problem_document_is_shown_too() -> None:
    failure = gateway.problem(httpx.Response(502, text="bad gateway"))
    assert str(failure) == "502 Bad Gateway"
    assert failure.more == ("bad gateway",)


def test_the_page_that_leads_to_the_dashboard_is_its_owners_alone(tmp_path: Path) -> None:
    page, target = tmp_path / "open.html", tmp_path / "target"
    target.write_text("mine")
    page.symlink_to(target)
    run.write_leading_page(page, "https://nurture.test/admin/sign-in/a?b&c")
    assert target.read_text() == "mine" and not page.is_symlink() and page.stat().st_mode & 0o777 == 0o600
    assert 'content="0; url=https://nurture.test/admin/sign-in/a?b&amp;c"' in page.read_text()
