"""A sequence that ends for whoever did what it is for: over REST, the bus, scoring, the controller and back to `why`."""

from typing import Any
from uuid import uuid4

from tests.journeys.system import System, eventually


def test_who_purchased_is_not_asked_to_purchase(system: System) -> None:
    kind = f"offer-{uuid4().hex[:8]}"
    step = '[[steps]]\n{}\nchannel = "email"\nsubject = "Offer"\nbody = "Please buy."\n'
    toml = f'format = 1\ntype = "{kind}"\ntitle = "Offer"\nexit_on = ["purchased"]\n'
    toml += step.format('when = "now"') + step.format('delay = "30d"')
    published = system.command("/admin/api/sequences", content=toml, headers={"content-type": "application/toml"})
    assert published.status_code == 201, published.text

    def enrolments(name: str) -> list[dict[str, Any]]:
        told = system.api.get(f"/admin/api/users/{name}/why", params={"sequence_type": kind}).json()["enrolments"]
        return sorted(told, key=lambda one: one["started_at"])

    buyer, other = (f"{name}-{uuid4().hex[:8]}" for name in ("buyer", "other"))
    for name in (buyer, other):
        system.person(name, email=f"{name}@example.test")
        system.answer({"user_id": name, "sequence_type": kind})
    system.cli("events", "send", buyer, "purchased")
    system.cli("events", "send", other, "attended")
    (ended,) = eventually(lambda: [one for one in enrolments(buyer) if one["state"] != "active"], what="the exit")
    assert (ended["state"], ended["ended_reason"], ended["next_at"]) == ("cancelled", "exited: purchased", None)
    assert "exited: purchased" in system.cli("why", buyer).stdout
    assert [one["state"] for one in enrolments(other)] == ["active"]
    # Once more from the beginning: what was done before says nothing.
    system.answer({"user_id": buyer, "sequence_type": kind})
    system.cli("events", "send", other, "purchased")
    eventually(lambda: enrolments(other)[0]["state"] == "cancelled", what="the other's exit")
    assert [one["state"] for one in enrolments(buyer)] == ["cancelled", "active"]
