"""The bus as an operator sees it: readable JSON with headers, by our tail, by the printed command, by bare protocol."""

import json
import subprocess
from uuid import uuid4

import pytest

from tests.journeys.bare import Bare
from tests.journeys.system import NURTURE, System, eventually


def trigger_somebody(system: System) -> str:
    name = f"bus-{uuid4().hex[:8]}"
    person = system.person(name, email=f"{name}@example.test")
    return system.answer({"user_id": person, "sequence_type": "onboarding"}).json()["delivery_id"]


def test_bus_tail_shows_readable_messages_with_their_headers(system: System) -> None:
    command = [NURTURE, "bus", "tail", "nurture.>", "--count", "4"]
    tail = subprocess.Popen(command, env=system.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert tail.stderr is not None
        assert "listening on nurture.>" in tail.stderr.readline()
        delivery = trigger_somebody(system)
        out, err = tail.communicate(timeout=30)
    finally:
        tail.kill()
    assert tail.returncode == 0, err
    for wanted in (
        "nurture.cmd.controller.start_sequences",
        "nurture.cmd.email.send_emails",
        "Nats-Msg-Id",
        "traceparent",
        delivery,
    ):
        assert wanted in out


@pytest.mark.processes("`nurture status` tells of an instance of this machine")
def test_status_prints_a_ready_line_for_the_nats_command(system: System) -> None:
    status = system.cli("status", "--data-dir", str(system.data_dir)).stdout
    assert f"nats --server {system.status()['nats']} sub 'nurture.>'" in status.replace("\n", " ")


def test_a_bare_protocol_client_hears_the_same_and_sees_the_topology(system: System) -> None:
    client = Bare(system.status()["nats"])
    try:
        client.send("SUB nurture.> 1")
        delivery = trigger_somebody(system)
        heard: dict[str, tuple[dict[str, str], dict[str, object]]] = {}
        while "nurture.evt.email.settled" not in heard:
            subject, headers, body = client.message()
            heard[subject] = headers, json.loads(body)
        headers, body = heard["nurture.cmd.email.send_emails"]
        assert body["items"] == [delivery]
        assert headers["Nats-Msg-Id"] and headers["traceparent"] and headers["Nurture-Schema"] == "1"
        # One trace from the request to the settlement.
        chain = ("nurture.cmd.controller.start_sequences", "nurture.cmd.email.send_emails")
        traces = {heard[subject][0]["traceparent"].split("-")[1] for subject in chain}
        assert len(traces) == 1
        client.send("UNSUB 1")
        names = client.ask("$JS.API.STREAM.NAMES", {})["streams"]
        assert isinstance(names, list)
        assert {"COMMANDS", "EVENTS"} <= set(names)
        consumers = client.ask("$JS.API.CONSUMER.NAMES.COMMANDS", {})["consumers"]
        assert isinstance(consumers, list)
        assert {"controller-start", "email-send", "telegram-send"} <= set(consumers)
        stream = client.ask("$JS.API.STREAM.INFO.COMMANDS", {})["config"]
        assert isinstance(stream, dict)
        assert (stream["retention"], stream["duplicate_window"]) == ("limits", 600_000_000_000)
    finally:
        client.close()


def test_what_cannot_be_read_becomes_a_dead_letter_and_is_refused_again_at_a_replay(system: System) -> None:
    client = Bare(system.status()["nats"])
    marker = f"nonsense-{uuid4().hex[:8]}"
    payload = json.dumps({"page_id": str(uuid4()), "items": [marker]}).encode()
    client.send(f"PUB nurture.cmd.email.send_emails {len(payload)}", payload)

    def letters() -> list[dict[str, object]]:
        return [letter for letter in system.pages("/admin/api/dead-letters") if marker in str(letter["payload"])]

    (letter,) = eventually(letters, what="the dead letter")
    client.close()
    assert (letter["room"], letter["durable"]) == ("email", "email-send")
    assert letter["reason"]
    again = system.post(f"/admin/api/dead-letters/{letter['id']}/replay")
    assert again.status_code == 202, again.text
    # It was handed to its handler, which can read it no better than before.
    eventually(lambda: str(letters()[0]["reason"]).startswith("1 of 1 items: "), what="the reason of the replay")
    assert letters()[0]["replayed_at"] is None
    assert system.post(f"/admin/api/dead-letters/{uuid4()}/replay").status_code == 404
