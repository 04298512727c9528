"""What a path is asked with: a mistyped filter is refused by name and never answered with everything there is."""

import pytest
from gateway_stand import Gateway
from test_health_and_pages import problem

LISTS = ("deliveries", "users", "commands", "dead-letters", "nurture/active", "nurture/holds", "sequences", "metrics")


@pytest.mark.parametrize("path", LISTS)
def test_a_name_that_a_path_does_not_know_is_refused(gateway: Gateway, path: str) -> None:
    told = problem(gateway.http.get(f"/admin/api/{path}?sequence=tips"), 400, "malformed_request")
    assert [error["field"] for error in told["errors"]] == ["sequence"]
    assert told["errors"][0]["reason"].startswith("is not a known parameter; this path takes ")


def test_the_names_that_a_path_knows_are_told(gateway: Gateway) -> None:
    told = problem(gateway.http.get("/admin/api/nurture/active?kind=x"), 400, "malformed_request")
    assert told["detail"].endswith("this path takes cursor, limit, sequence_type, user")
    body = {"user_id": "x", "sequence_type": "x"}
    told = problem(gateway.http.post("/admin/api/nurture/trigger?force=1", json=body), 400, "malformed_request")
    assert told["detail"] == "force: is not a known parameter; this path takes none"


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("deliveries?channel=fax", "channel: must be one of email, telegram"),
        ("deliveries?status=foo", "status: must be one of pending, sent, delivered, opened, clicked, "),
        ("commands?kind=foo", "kind: must be one of trigger, cancel, "),
        ("dead-letters?service=foo", "service: must be one of gateway, controller, email, telegram, scoring"),
        ("deliveries?limit=many", "limit: must be a whole number"),
        ("deliveries?limit=0", "limit: must be a whole number >= 1"),
        ("deliveries?possible_duplicate=perhaps", "possible_duplicate: must be true or false"),
    ],
)
def test_a_value_that_there_is_not_is_refused_with_those_there_are(gateway: Gateway, asked: str, wanted: str) -> None:
    told = problem(gateway.http.get(f"/admin/api/{asked}"), 400, "malformed_request")
    assert told["detail"].startswith(wanted)
