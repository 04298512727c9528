"""Why somebody got nothing: also a start that was refused is told of, by whatever name they were called."""

from uuid import uuid4

from gateway_stand import KEY, Controller, Gateway

TRIGGER = "/admin/api/nurture/trigger"


def test_refused_starts_are_told_newest_first(gateway: Gateway, controller: Controller) -> None:
    ada, other = gateway.person(), gateway.person()
    detail = "The person refused <Email>."
    controller.answer = lambda *_: (422, {"code": "no_reachable_channel", "detail": detail, "hint": "h"})
    for who, kind in ((ada["id"], "first"), (ada["external_id"], "second"), (other["id"], "third")):
        assert gateway.post(TRIGGER, {"user_id": who, "sequence_type": kind}).status_code == 422
    # Of a list only who was refused, however many others were.
    gateway.servers.sql(
        "insert into gateway.commands (id, kind, request, state, status, result, settled_at) values ($1, 'trigger',"
        " $2, 'settled', 200, $3, now())",
        uuid4(), {"sequence_type": "listed"}, {"refused": [
            {"user": other["id"], "reason": "unknown_person"}, {"user": ada["id"], "reason": "already_running"}
        ]},
    )  # fmt: skip
    url = f"/admin/api/users/{ada['external_id']}/why"
    told = gateway.http.get(url).json()["refusals"]
    assert {(one["sequence_type"], one["code"], one["detail"]) for one in told} == {
        ("first", "no_reachable_channel", detail),
        ("second", "no_reachable_channel", detail),
        ("listed", "already_running", None),
    }
    assert [one["sequence_type"] for one in told if one["detail"]] == ["second", "first"]
    (only,) = gateway.http.get(f"{url}?sequence_type=second").json()["refusals"]
    assert gateway.http.get(f"/admin/api/commands/{only['command_id']}").json()["status"] == 422
    browser = gateway.stranger()
    assert browser.sign_in(KEY).status_code == 303
    page = browser.page(f"/admin/dashboard/users/{ada['id']}")
    assert "3 starts refused" in page and "The person refused &lt;Email&gt;." in page and "already running" in page
