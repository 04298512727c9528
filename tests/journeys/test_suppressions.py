"""An address that bounced, over the whole system: listed, lifted, written to again, and closed by its next bounce."""

import json
from typing import Any
from uuid import uuid4

from tests.journeys.system import System, eventually


def closed(system: System, address: str) -> list[dict[str, Any]]:
    told = json.loads(system.cli("email", "suppressed", address, "-o", "json").stdout)["items"]
    return [item for item in told if item["address"] == address]


def state(system: System, ref: str) -> str:
    return system.api.get(f"/admin/api/users/{ref}").json()["contacts"][0]["state"]


def test_an_address_is_lifted_and_its_next_bounce_closes_it_again(system: System) -> None:
    name = f"sup-{uuid4().hex[:8]}"
    address = f"{name}+bounce@example.test"
    system.person(name, email=address)
    system.answer({"user_id": name, "sequence_type": "onboarding"})
    (first,) = eventually(lambda: closed(system, address), what="the bounce")
    assert first["reason"] == "bounced" and first["delivery_id"]
    eventually(lambda: state(system, name) == "bounced", what="the contact's state")
    refused = system.answer({"user_id": name, "sequence_type": "re_engagement"})
    assert refused.status_code == 422 and "mail to it came back" in refused.text

    told = system.cli("email", "lift", address.upper()).stdout
    assert told.startswith(f"mails go to {address} again (it was bounced since ")
    assert closed(system, address) == [] and state(system, name) == "ok"
    assert "not suppressed" in system.cli("email", "lift", address, check=False).stderr
    system.answer({"user_id": name, "sequence_type": "re_engagement"})
    (again,) = eventually(lambda: closed(system, address), what="the second bounce")
    assert again["delivery_id"] != first["delivery_id"] and again["at"] > first["at"]
    eventually(lambda: state(system, name) == "bounced", what="the contact's state once more")


def test_nothing_goes_to_an_address_that_was_closed_by_hand(system: System) -> None:
    name = f"hand-{uuid4().hex[:8]}"
    address = f"{name}@example.test"
    system.cli("email", "suppress", address, "--note", "belongs to somebody else")
    system.person(name, email=address)
    refused = system.answer({"user_id": name, "sequence_type": "onboarding"})
    assert refused.status_code == 422 and "on the list of addresses that get no mail" in refused.text
    many = system.trigger({"user_ids": [name], "sequence_type": "re_engagement"}).json()
    system.settled(many["command_id"])
    by_list, alone = system.api.get(f"/admin/api/users/{name}/why").json()["refusals"]
    assert (by_list["sequence_type"], by_list["code"], by_list["detail"]) == (
        "re_engagement",
        "no_reachable_channel",
        None,
    )
    assert (alone["sequence_type"], alone["code"]) == ("onboarding", "no_reachable_channel")
    said = system.cli("why", name).stdout
    assert "re_engagement: refused " in said and "on the list of addresses that get no mail" in said
    assert [
        one["code"] for one in system.api.get(f"/admin/api/users/{name}/why?sequence_type=tips").json()["refusals"]
    ] == []
    (told,) = closed(system, address)
    assert (told["reason"], told["note"]) == ("manual", "belongs to somebody else")
    system.cli("email", "lift", address)
    system.answer({"user_id": name, "sequence_type": "onboarding"})
    eventually(lambda: system.messages(to=address), what="the mail")
