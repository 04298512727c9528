"""CSV imports: good lines kept, bad ones listed, the same file twice changes nothing, by sets."""

from uuid import uuid4

import pytest
from gateway_stand import Gateway
from test_health_and_pages import problem

CSV = {"Content-Type": "text/csv"}


def import_csv(gateway: Gateway, text: str, **headers: str) -> dict:
    answer = gateway.http.post("/admin/api/users/import", content=text.encode(), headers=CSV | headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def people_csv(mark: str, count: int, plan: str = "free") -> str:
    rows = (f"{mark}-{n},Person {n},{mark}-{n}@example.org,Europe/Berlin,{plan}" for n in range(count))
    return "external_id,first_name,email,timezone,attr.plan\n" + "\n".join(rows) + "\n"


def test_the_same_file_twice_changes_nothing(gateway: Gateway) -> None:
    text = people_csv(uuid4().hex[:8], 50)
    assert import_csv(gateway, text) == {"created": 50, "updated": 0, "unchanged": 0, "rejected": []}
    before = gateway.servers.sql("select max(updated_at), count(*) from gateway.users")
    assert import_csv(gateway, text) == {"created": 0, "updated": 0, "unchanged": 50, "rejected": []}
    assert gateway.servers.sql("select max(updated_at), count(*) from gateway.users") == before
    assert import_csv(gateway, text.replace(",free", ",pro")) == {
        "created": 0,
        "updated": 50,
        "unchanged": 0,
        "rejected": [],
    }


def test_good_lines_are_kept_and_bad_ones_listed(gateway: Gateway) -> None:
    taken, mark = gateway.person(), uuid4().hex[:8]
    text = (
        "external_id,first_name,email,timezone\n"
        f"{mark}-a,Ada,{mark}-a@example.org,\n"
        f"{mark}-b,Bob,nonsense,\n"
        f"{mark}-c,Cy,{taken['email']},\n"
        f"{mark}-d,Dan,{mark}-d@example.org,Moon/Base\n"
        f"{mark}-a,Ada again,,\n"
        f",Eve,{taken['email']},Asia/Tokyo\n"
    )
    done = import_csv(gateway, text)
    assert (done["created"], done["updated"]) == (1, 0)
    assert [line["line"] for line in done["rejected"]] == [3, 4, 5, 6, 7]
    reasons = {line["line"]: line["reason"] for line in done["rejected"]}
    assert "email" in reasons[3] and taken["id"] in reasons[4] and "timezone" in reasons[5] and "line 2" in reasons[6]
    assert gateway.http.get(f"/admin/api/users/{mark}-a").json()["first_name"] == "Ada"


def test_attributes_of_a_line_count_with_those_that_the_person_has(gateway: Gateway) -> None:
    full, fine = gateway.person(attributes={"a": "x" * 16_000}), gateway.person()
    text = (
        "external_id,attr.note,first_name\n"
        f"{full['external_id']},{'y' * 1_000},Bea\n"
        f"{fine['external_id']},{'y' * 1_000},Bea\n"
    )
    done = import_csv(gateway, text)
    assert (done["updated"], [line["line"] for line in done["rejected"]]) == (1, [2])
    assert done["rejected"][0]["reason"].startswith("attributes: must have at most 16384 bytes")
    assert gateway.http.get(f"/admin/api/users/{full['id']}").json() == full


def test_rows_find_people_by_id_then_external_id_then_email(gateway: Gateway) -> None:
    one, two, three = gateway.person(), gateway.person(), gateway.person(external_id=None)
    text = (
        "id,external_id,email,first_name\n"
        f"{one['id']},,,By id\n"
        f",{two['external_id']},new-{two['email']},By name\n"
        f",{uuid4().hex},{three['email'].upper()},By address\n"
    )
    assert import_csv(gateway, text) == {"created": 0, "updated": 3, "unchanged": 0, "rejected": []}
    names = [gateway.http.get(f"/admin/api/users/{person['id']}").json() for person in (one, two, three)]
    assert [person["first_name"] for person in names] == ["By id", "By name", "By address"]
    assert names[1]["email"] == f"new-{two['email']}" and names[0]["email"] == one["email"]


def test_two_rows_for_one_person_are_told_apart_also_across_pages(gateway: Gateway) -> None:
    person, mark = gateway.person(), uuid4().hex[:8]
    filler = "\n".join(f",{mark}-{n},{mark}-{n}@example.org" for n in range(2500))
    text = f"id,external_id,email\n{person['id']},,\n{filler}\n,{person['external_id']},\n"
    done = import_csv(gateway, text)
    assert done["created"] == 2500 and done["unchanged"] == 1
    assert [line["line"] for line in done["rejected"]] == [2503]


def test_a_file_with_a_strange_head_is_refused(gateway: Gateway) -> None:
    answer = gateway.http.post("/admin/api/users/import", content=b"name,mail\nx,y\n", headers=CSV)
    assert "'name'" in problem(answer, 400, "malformed_csv")["detail"]
    problem(gateway.http.post("/admin/api/users/import", content=b"email\n\xff\n", headers=CSV), 400, "malformed_csv")
    json = {"Content-Type": "application/json"}
    problem(gateway.http.post("/admin/api/users/import", content=b"{}", headers=json), 415, "unsupported_media_type")


def test_an_import_under_the_same_key_is_done_once(gateway: Gateway) -> None:
    text, key = people_csv(uuid4().hex[:8], 3), uuid4().hex
    first = import_csv(gateway, text, **{"Idempotency-Key": key})
    assert import_csv(gateway, text, **{"Idempotency-Key": key}) == first
    assert first["created"] == 3


@pytest.mark.parametrize("people", [2_000, 10_000])
def test_statements_go_with_pages_not_with_people(gateway: Gateway, people: int) -> None:
    names = ("lock_people", "match_people", "save_people", "save_contacts")
    before = gateway.metric("nurture_sql_statements")
    four = sum(gateway.metric("nurture_sql_statements", query=name) for name in names)
    assert import_csv(gateway, people_csv(uuid4().hex[:8], people))["created"] == people
    assert sum(gateway.metric("nurture_sql_statements", query=name) for name in names) - four == 4 * people / 2000
    # Beside them only the service's own ticks.
    assert gateway.metric("nurture_sql_statements") - before <= 4 * people / 2000 + 40
