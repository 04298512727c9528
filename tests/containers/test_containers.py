"""The five images with NATS, PostgreSQL and the sandbox on one network: a whole journey over REST, deaths, and clean ends."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.containers.system import ROOMS, ContainerSystem
from tests.journeys.system import eventually
from tests.journeys.test_walk import ledger_and_rows_agree

SENDING = (
    "select (select count(*) from email.claims where state = 'open' and lease_until > now())"
    " + (select count(*) from telegram.claims where state = 'sending') as n"
)


def test_containers_have_no_rights_that_they_do_not_need(contained: ContainerSystem) -> None:
    for name in contained.containers:
        told = contained.container(name).attrs
        host = told["HostConfig"]
        assert told["Config"]["User"] not in ("", "0", "root"), name
        assert host["ReadonlyRootfs"] is True, name
        assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"], name
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"]), name
        if name in ROOMS:
            # Where email would find the relay's authority.
            readable = ["/etc/nurture/relay/ca.crt"] if name == "email" else []
            assert [mount["Destination"] for mount in told["Mounts"]] == readable, f"{name} has a place to write to"
            assert not any(mount["RW"] for mount in told["Mounts"]), f"{name} has a place to write to"
            # And so the kernel sees it: the first process is Python, as nobody in particular, with no capability.
            status = contained.containers[name].exec(["cat", "/proc/1/status"]).output.decode()
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert fields["Name"].startswith("python"), fields["Name"]
            assert set(fields["Uid"].split()) == {"10001"}, name
            assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0 and fields["NoNewPrivs"].strip() == "1"
            for place in ("/app/x", "/data/x", "/etc/x", "/x"):
                assert contained.containers[name].exec(["touch", place]).exit_code != 0, (name, place)


def test_services_are_themselves_on_the_bus_and_in_the_database(contained: ContainerSystem) -> None:
    assert contained.users_on_the_bus() == set(ROOMS)
    roles = contained.rows("select distinct usename from pg_stat_activity where usename like 'nurture_%'")
    assert {row["usename"] for row in roles} >= {f"nurture_{room}" for room in ROOMS}


def test_images_hold_no_secret_and_no_tests(contained: ContainerSystem) -> None:
    for room in ROOMS:
        image = contained.client.images.get(contained.definition[room]["image"])
        words = str(image.history()) + str(image.attrs["Config"])
        for secret in ("SECRET_KEY=", "PASSWORD=", "API_KEY=", "index-url=http"):
            assert secret not in words, (room, secret)
        packages = contained.containers[room].exec(["sh", "-c", "ls /app/lib/python3*/site-packages"]).output.decode()
        others = {f"nurture_{other}" for other in (*ROOMS, "local") if other != room} | {"tests", "pytest", "pip"}
        assert not others & set(packages.split()), room


def test_a_journey_over_rest(contained: ContainerSystem, tmp_path: Path) -> None:
    """Import, trigger, send, webhook, score, fallback."""
    mark = uuid4().hex[:8]
    file = tmp_path / "people.csv"
    file.write_text(
        "external_id,first_name,email,telegram_chat_id\n"
        f"click-{mark},Clara,click-{mark}+click@example.test,\n"
        f"bounce-{mark},Bo,bounce-{mark}+bounce@example.test,{int(mark, 16) * 10 + 4}\n"
        f"chat-{mark},Chai,,{int(mark, 16) * 10 + 7_000_000_000_003}\n"
    )
    contained.cli("people", "import", str(file))
    command = contained.trigger({"segment": "all", "sequence_type": "onboarding"}).json()["command_id"]
    assert contained.settled(command)["started"] == 3

    def of(name: str) -> list[dict[str, Any]]:
        (person,) = [one for one in contained.pages("/admin/api/users") if one["external_id"] == f"{name}-{mark}"]
        return contained.deliveries(user=person["id"])

    def clicked() -> bool:
        return [row["status_detail"] for row in of("click")] == ["clicked"]

    eventually(clicked, what="the click, by a webhook and by a link of ours")
    eventually(lambda: len(of("bounce")) == 2 and all(row["sent_at"] for row in of("bounce")), what="the fallback")
    bounced, instead = sorted(of("bounce"), key=lambda row: row["id"])
    assert (bounced["channel"], bounced["status_detail"]) == ("email", "bounced")
    assert instead["channel"] == "telegram"
    (row,) = contained.rows("select fallback_of::text as it from message_deliveries where id::text = $1", instead["id"])
    assert row["it"] == bounced["id"]
    eventually(lambda: [row["status_detail"] for row in of("chat")] == ["clicked"], what="the reply in the chat")

    def scored() -> bool:
        user = of("chat")[0]["user_id"]
        scores = contained.api.get(f"/admin/api/users/{user}/scores").json()["scores"]
        return next(one["score"] for one in scores if one["score_type"] == "telegram") > 20.01

    eventually(scored, what="a score that the reply has raised: a click this soon would pass for a machine's")
    ledger_and_rows_agree(contained)


def people(system: ContainerSystem, folder: Path, number: int) -> str:
    """Emails and chats, half and half, of people who only read. Returns what their external ids begin with."""
    mark = uuid4().hex[:6]
    lines = [
        f"{mark}-{n},P{n},{mark}-{n}@example.test,"
        if n % 2
        else f"{mark}-{n},P{n},,{int(mark, 16) * 100_000 + n * 10 + 1}"
        for n in range(number)
    ]
    file = folder / "many.csv"
    file.write_text("external_id,first_name,email,telegram_chat_id\n" + "\n".join(lines) + "\n")
    system.cli("people", "import", str(file))
    return f"{mark}-"


def unknown(system: ContainerSystem) -> int:
    """Messages of which nobody can say whether they arrived: what a death in the middle of a call leaves."""
    return system.rows("select count(*) as n from message_deliveries where status_detail = 'unknown'")[0]["n"]


def test_deaths_lose_nothing_and_send_nothing_twice(contained: ContainerSystem, tmp_path: Path) -> None:
    """kill -9 of services, of the bus and of the database while messages are being sent."""
    before = sum(contained.counts().values())
    people(contained, tmp_path, 400)
    contained.chaos(latency_ms=500, telegram={"latency_ms": 100})
    command = contained.trigger({"segment": "all", "sequence_type": "onboarding"}).json()["command_id"]
    for victims in (("email", "telegram"), ("controller", "gateway", "scoring"), ("nats",), ("postgres",)):
        eventually(lambda: contained.rows(SENDING)[0]["n"], what="something in flight")
        for name in victims:
            contained.kill(name)
        contained.begin(*victims)
    contained.chaos()
    contained.settled(command)
    contained.quiet(before + 400, within=150)
    ledger_and_rows_agree(contained)


def test_a_stop_is_clean_and_leaves_nothing_in_flight(contained: ContainerSystem, tmp_path: Path) -> None:
    before, in_doubt = sum(contained.counts().values()), unknown(contained)
    people(contained, tmp_path, 300)
    contained.chaos(latency_ms=300, telegram={"latency_ms": 100})
    contained.trigger({"segment": "all", "sequence_type": "onboarding"})
    eventually(lambda: contained.rows(SENDING)[0]["n"], what="something in flight")
    took = {}
    for name in ("email", "telegram", "gateway", "controller", "scoring"):
        code, took[name] = contained.end(name)
        assert code == 0, contained.logs(name)[-2000:]
    assert max(took.values()) < 10, took
    assert contained.rows(SENDING)[0]["n"] == 0
    assert unknown(contained) == in_doubt
    contained.chaos()
    contained.begin(*ROOMS)
    contained.quiet(before + 300, within=120)
    ledger_and_rows_agree(contained)
