"""The command line on a running system: doctor, the bus, why, events and scores, pausing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nurture_contracts.topology import CONSUMERS, STREAMS

from tests.journeys.system import System, eventually, running


def told(system: System, *command: str) -> Any:
    return json.loads(system.cli(*command, "-o", "json").stdout)


def on_its_own(test: Any) -> Any:
    return pytest.mark.long(pytest.mark.xdist_group("own-instance")(test))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An instance whose processes may be stopped; each test leaves it whole."""
    with running(tmp_path_factory.mktemp("own") / "data") as system:
        yield system


@pytest.fixture
def person(system: System) -> str:
    """The external id of somebody with an email address."""
    name = f"cleo-{uuid4().hex[:8]}"
    system.person(name, email=f"{name}@example.test", timezone="Europe/Paris")
    return name


def checks(system: System) -> dict[str, dict[str, str]]:
    """What doctor finds, by check, whatever its exit code."""
    done = system.cli("doctor", "-o", "json", check=False)
    found = json.loads(done.stdout)
    failed = [check for check in found["checks"] if check["verdict"] == "fail"]
    assert (done.returncode, found["ok"]) == (1 if failed else 0, not failed)
    return {check["check"]: check for check in found["checks"]}


def verdicts(system: System) -> dict[str, str]:
    return {name: check["verdict"] for name, check in checks(system).items()}


def unwell(system: System) -> dict[str, str]:
    return {name: check["found"] for name, check in checks(system).items() if check["verdict"] != "ok"}


@on_its_own
def test_doctor_on_an_instance_of_its_own(own: System) -> None:
    system = own
    # Who the bot is becomes known a moment after the service is ready.
    eventually(lambda: not unwell(system), what=f"an instance that is well ({unwell(system)})")
    known = checks(system)
    assert {"instance", "gateway", "email", "api key", "migrations", "streams", "consumers", "clock"} <= set(known)
    assert "@" in known["telegram bot"]["found"]
    shown = system.cli("doctor").stdout
    assert shown.count("✓") == len(known)
    secrets = json.loads((system.data_dir / "secrets.json").read_text())
    assert not [name for name, value in secrets.items() if value and value in shown + json.dumps(known)]

    system.service("stop", "scoring")
    stopped = checks(system)
    assert stopped["scoring"] == {
        "check": "scoring",
        "verdict": "fail",
        "found": "stopped",
        "wanted": "ready",
        "fix": "nurture service start scoring",
    }
    assert {name for name, check in stopped.items() if check["verdict"] == "fail"} == {"scoring"}
    system.service("start", "scoring")

    system.service("stop", "gateway")
    without = verdicts(system)
    assert (without["gateway"], without["rest api"], without["migrations"]) == ("fail", "fail", "ok")
    assert (without["api key"], without["dead letters"]) == ("skip", "skip")
    system.service("start", "gateway")

    system.service("stop", "nats")
    assert checks(system)["bus"]["found"] == "the bus does not answer"
    system.service("start", "nats")
    eventually(lambda: not unwell(system), within=90, what="an instance that is well again")


def test_doctor_over_rest_alone(system: System) -> None:
    status = system.status()
    remote = System(system.data_dir, env={"NURTURE_URL": status["gateway"], "NURTURE_API_KEY": status["api_key"]})
    found = verdicts(remote)
    assert (found["rest api"], found["api key"]) == ("ok", "ok")
    assert {found[name] for name in ("services", "migrations", "bus", "telegram bot")} == {"skip"}
    remote.env |= {"NATS_URL": status["nats"], "DATABASE_URL": status["database"]}
    found = verdicts(remote)
    assert {found[name] for name in ("migrations", "streams", "consumers", "rate limit")} == {"ok"}
    remote.env["NURTURE_API_KEY"] = "nope"
    assert verdicts(remote)["api key"] == "fail"


def test_bus_ls_lists_the_topology(system: System) -> None:
    found = told(system, "bus", "ls")
    assert {stream.name for stream in STREAMS} <= {row["stream"] for row in found["streams"]}
    assert {consumer.durable for consumer in CONSUMERS} == {row["consumer"] for row in found["consumers"]}
    shown = system.cli("bus", "ls").stdout
    assert all(consumer.durable in shown for consumer in CONSUMERS)


@on_its_own
def test_bus_lag_names_who_is_behind(own: System) -> None:
    system = own
    assert eventually(lambda: told(system, "bus", "lag") == [])
    system.service("stop", "email")
    person = system.person("late", email="late@example.test")
    assert system.answer({"user_id": person, "sequence_type": "onboarding"}).status_code == 201

    def behind() -> Any:
        return [row for row in told(system, "bus", "lag") if row["consumer"] == "email-send"]

    (row,) = eventually(behind, what="the backlog of email-send")
    assert row["pending"] + row["ack_pending"] == 1
    assert system.cli("bus", "lag", "--over", "0", check=False).returncode == 1
    system.service("start", "email")
    eventually(lambda: not behind(), what="the end of the backlog")


def test_bus_dead_is_empty_for_a_service_that_had_none(system: System) -> None:
    assert told(system, "bus", "dead", "--service", "scoring") == []
    assert system.cli("bus", "dead", "--replay", str(uuid4()), check=False).returncode == 1


def test_why_tells_channel_and_reason(system: System, person: str) -> None:
    assert "No message was decided yet." in system.cli("why", person).stdout
    answer = system.answer({"user_id": person, "sequence_type": "onboarding"})
    assert answer.status_code == 201, answer.text
    shown = system.cli("why", person, "--sequence", "onboarding").stdout
    assert "onboarding version 1: active" in shown
    assert "onboarding step 1 by Email" in shown
    assert "why Email: " in shown and "Email works and the person agreed to it." in shown
    assert "Europe/Paris" in shown
    assert "step 1" not in system.cli("why", person, "--sequence", "re_engagement").stdout
    (delivery,) = told(system, "why", person)["deliveries"]
    assert delivery["id"] == answer.json()["delivery_id"]
    assert system.cli("why", f"nobody-{uuid4().hex}", check=False).returncode == 1


def test_a_start_is_simulated_and_starts_nobody(system: System, person: str, tmp_path: Path) -> None:
    draft = tmp_path / "draft.toml"
    draft.write_text(
        'format = 1\ntype = "draft"\ntitle = "D"\n\n[[steps]]\nwhen = "now"\nfallback = "auto"\nsubject = "S"\nbody = "B"\n'
        '\n[[steps]]\ndelay = "1d"\nsubject = "S"\nbody = "B"\n'
    )
    text = system.cli("simulate", str(draft), person, "--at", "2027-01-04T20:00:00", "--failing", "email").stdout
    assert "Europe/Paris  step 1 by Email, which fails (bounced)" in text
    assert (
        "2027-01-05 09:00 Europe/Paris  step 2: not sent" in text
        and "The address for Email is closed: mail to it came back." in text
    )
    result = told(system, "simulate", "onboarding")
    assert result["started"] + sum(result["refused_by_reason"].values()) == result["people"] > 0
    summary = system.cli("simulate", "onboarding").stdout
    assert "fullest minute of email" in summary and "1 welcome" in summary
    assert f"would start {result['started']}, with" in summary
    later = system.cli("simulate", "onboarding", "--at", "2027-01-04T21:00:00+01:00").stdout
    assert "if it were started 2027-01-04 20:00 UTC" in later
    assert not system.deliveries(user=person)


def test_events_move_the_score(system: System, person: str, tmp_path: Path) -> None:
    def attendance() -> dict[str, Any]:
        scores = told(system, "score", person)["scores"]
        return next(score for score in scores if score["score_type"] == "attendance")

    before = attendance()["score"]
    identity = str(uuid4())
    assert system.cli("events", "send", person, "attended", "--id", identity).stdout == "accepted 1\n"
    assert system.cli("events", "send", person, "attended", "--id", identity).stdout == "repeated 1\n"
    eventually(lambda: attendance()["factors"]["events"] == 1, what="the event in the score")
    assert attendance()["score"] > before
    file = tmp_path / "events.csv"
    file.write_text(f"user,event\n{person},missed\nnobody-{identity},attended\n")
    done = system.cli("events", "send", "--file", str(file), check=False)
    assert (done.returncode, done.stdout) == (1, "accepted 1, rejected 1\n")
    assert "line 3" in done.stderr
    eventually(lambda: attendance()["factors"]["events"] == 2, what="the second event in the score")
    words = system.cli("score", person).stdout.partition("attendance")[2].partition("commitment")[0]
    assert "2 events" in words and "last: missed" in words


@on_its_own
def test_a_sequence_is_paused_and_resumed(own: System) -> None:
    system = own
    person = system.person("patient", email="patient@example.test")
    assert system.answer({"user_id": person, "sequence_type": "re_engagement"}).status_code == 201
    paused = system.cli("sequences", "pause", "re_engagement").stdout
    assert paused == "paused re_engagement: running enrolments that wait: 1\n"
    assert "paused" in system.cli("why", "patient").stdout
    resumed = system.cli("sequences", "resume", "re_engagement").stdout
    assert resumed == "resumed re_engagement: enrolments that go on: 1\n"
    assert ", paused" not in system.cli("why", "patient").stdout
    unknown = system.cli("sequences", "pause", "no_such_type", check=False)
    assert unknown.returncode == 1 and "There is no sequence" in unknown.stderr


@pytest.mark.processes("`nurture status` tells of an instance of this machine")
def test_status_tells_of_both_channels(system: System) -> None:
    shown = system.cli("status").stdout
    assert "email:     sandbox" in shown
    assert "telegram:  sandbox" in shown
    assert system.status()["telegram"]["mode"] == "sandbox"
