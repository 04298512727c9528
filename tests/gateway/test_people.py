"""People over REST: create, find, change, and the same key twice."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from gateway_stand import Gateway
from test_health_and_pages import problem


def test_upsert_finds_by_id_then_external_id_then_email(gateway: Gateway) -> None:
    first = gateway.person(timezone="Europe/Berlin", attributes={"plan": "free", "n": 1})
    assert first["contacts"][0] | {"changed_at": 0} == {
        "channel": "email", "address": first["email"], "state": "ok", "reason": None, "consent": "granted", "changed_at": 0,
    }  # fmt: skip
    by_id = gateway.post("/admin/api/users", {"id": first["id"], "first_name": "Bea"})
    assert (
        by_id.status_code == 200 and by_id.json()["first_name"] == "Bea" and by_id.json()["timezone"] == "Europe/Berlin"
    )
    by_external = gateway.post("/admin/api/users", {"external_id": first["external_id"], "first_name": "Cya"})
    assert by_external.json()["id"] == first["id"]
    by_email = gateway.post("/admin/api/users", {"email": first["email"].upper(), "first_name": "Dia"})
    assert by_email.status_code == 200 and by_email.json()["id"] == first["id"]
    chosen = str(uuid4())
    created = gateway.post("/admin/api/users", {"id": chosen, "first_name": "Own id"})
    assert created.status_code == 201 and created.json()["id"] == chosen
    assert created.headers["location"] == f"/admin/api/users/{chosen}"


def test_an_address_belongs_to_one_person(gateway: Gateway) -> None:
    one, two = gateway.person(telegram_chat_id=uuid4().int % 10**12 + 1), gateway.person()
    body = problem(
        gateway.http.patch(f"/admin/api/users/{two['id']}", json={"email": one["email"]}), 409, "address_taken"
    )
    assert body["errors"][0]["field"] == "email" and one["id"] in body["detail"]
    problem(
        gateway.http.patch(f"/admin/api/users/{two['id']}", json={"telegram_chat_id": one["telegram_chat_id"]}),
        409,
        "address_taken",
    )
    problem(
        gateway.post(
            "/admin/api/users", {"external_id": "new" + uuid4().hex, "first_name": "X", "email": one["email"]}
        ),
        409,
        "address_taken",
    )


def test_a_person_is_named_by_uuid_or_external_id(gateway: Gateway) -> None:
    person = gateway.person()
    looks_like_one = gateway.person(external_id=str(uuid4()))
    for ref in (person["id"], person["external_id"]):
        assert gateway.http.get(f"/admin/api/users/{ref}").json() == person
    assert gateway.http.get(f"/admin/api/users/{looks_like_one['external_id']}").json()["id"] == looks_like_one["id"]
    problem(gateway.http.get(f"/admin/api/users/{uuid4()}"), 404, "person_not_found")


def test_patch_leaves_out_clears_and_merges(gateway: Gateway) -> None:
    person = gateway.person(timezone="Asia/Tokyo", attributes={"a": 1, "b": 2}, preferred_channel="email")
    url = f"/admin/api/users/{person['external_id']}"
    changed = gateway.http.patch(
        url, json={"attributes": {"a": None, "c": 3}, "timezone": None, "preferred_channel": None}
    ).json()
    assert (
        changed["attributes"] == {"b": 2, "c": 3}
        and changed["timezone"] == "UTC"
        and changed["preferred_channel"] is None
    )
    assert changed["first_name"] == person["first_name"] and changed["email"] == person["email"]
    without = gateway.http.patch(url, json={"email": None}).json()
    assert without["email"] is None and without["contacts"][0]["state"] == "blocked"
    back = gateway.http.patch(url, json={"email": person["email"]}).json()
    assert back["contacts"][0]["state"] == "ok"
    problem(gateway.http.patch(url, json={"status": "vip"}), 400, "malformed_request")
    problem(gateway.http.patch(f"/admin/api/users/{uuid4()}", json={"first_name": "X"}), 404, "person_not_found")


def test_attributes_stay_small_however_many_changes_make_them(gateway: Gateway) -> None:
    person = gateway.person(attributes={"first": "x" * 9_000})
    url = f"/admin/api/users/{person['external_id']}"
    told = problem(gateway.http.patch(url, json={"attributes": {"second": "y" * 9_000}}), 400, "malformed_request")
    assert told["errors"][0]["field"] == "attributes" and "16384" in told["detail"]
    again = problem(
        gateway.post(
            "/admin/api/users", {"email": person["email"], "first_name": "B", "attributes": {"n": "y" * 9_000}}
        ),
        400,
        "malformed_request",
    )
    assert [error["field"] for error in again["errors"]] == ["attributes"]
    kept = gateway.http.get(url).json()
    assert kept["attributes"] == person["attributes"] and kept["first_name"] == person["first_name"]
    # What takes another's place counts alone.
    assert gateway.http.patch(url, json={"attributes": {"first": None, "n": "y" * 9_000}}).status_code == 200


def test_whoever_has_too_many_attributes_from_earlier_may_change_and_lose_some(gateway: Gateway) -> None:
    person = gateway.person()
    url = f"/admin/api/users/{person['id']}"
    many = {f"a{n}": "x" * 1_000 for n in range(30)}
    gateway.servers.sql("update gateway.users set attributes = $1 where id = $2::text::uuid", many, person["id"])
    assert gateway.http.patch(url, json={"first_name": "Bea"}).json()["first_name"] == "Bea"
    assert len(gateway.http.patch(url, json={"attributes": {"a0": None}}).json()["attributes"]) == 29
    problem(gateway.http.patch(url, json={"attributes": {"b": 1}}), 400, "malformed_request")


def test_lists_go_from_new_to_old_without_gaps(gateway: Gateway) -> None:
    mark = uuid4().hex[:8]
    made = [gateway.person(external_id=f"{mark}-{n}")["id"] for n in range(7)]
    seen, cursor = [], None
    while True:
        query = {"q": mark, "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = gateway.http.get("/admin/api/users", params=query).json()
        seen += [person["id"] for person in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made[::-1]
    assert gateway.http.get("/admin/api/users", params={"limit": 1}).json()["items"][0]["id"] == made[-1]
    assert gateway.http.get("/admin/api/users", params={"q": "%"}).json()["items"] == []


def test_the_same_key_gives_the_same_answer_and_one_effect(gateway: Gateway) -> None:
    key, body = uuid4().hex, {"first_name": "Once", "email": f"{uuid4().hex}@example.org"}
    first = gateway.post("/admin/api/users", body, key=key)
    gateway.http.patch(f"/admin/api/users/{first.json()['id']}", json={"first_name": "Twice"})
    again = gateway.post("/admin/api/users", body, key=key)
    assert (again.status_code, again.content, again.headers["location"]) == (
        201,
        first.content,
        first.headers["location"],
    )
    assert gateway.http.get(f"/admin/api/users/{first.json()['id']}").json()["first_name"] == "Twice"
    problem(gateway.post("/admin/api/users", body | {"first_name": "Other"}, key=key), 422, "key_reused")
    problem(gateway.post("/admin/api/users", body, key="x" * 256), 400, "malformed_request")
    assert gateway.post("/admin/api/email/test", {"email_address": "a@example.org"}, key=key).status_code == 202


def test_a_refusal_stays_refused_under_its_key(gateway: Gateway) -> None:
    person, key = gateway.person(), uuid4().hex
    body = {"external_id": uuid4().hex, "first_name": "X", "email": person["email"]}
    first = gateway.post("/admin/api/users", body, key=key)
    assert first.status_code == 409
    gateway.http.patch(f"/admin/api/users/{person['id']}", json={"email": None})
    again = gateway.post("/admin/api/users", body, key=key)
    assert again.status_code == 409 and again.content == first.content
    assert again.headers["content-type"].startswith("application/problem+json")


def test_many_at_once_under_one_key_have_one_effect(gateway: Gateway) -> None:
    key, body = uuid4().hex, {"first_name": "Racer", "email": f"{uuid4().hex}@example.org"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.post("/admin/api/users", body, key=key), range(16)))
    assert {answer.status_code for answer in answers} == {201} and len({answer.content for answer in answers}) == 1


def test_many_at_once_for_one_new_person_make_one_person(gateway: Gateway) -> None:
    name = uuid4().hex
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: gateway.post("/admin/api/users", {"external_id": name, "first_name": "R"}), range(16))
        )
    assert sorted({answer.status_code for answer in answers}) == [200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_text_from_outside_is_text_on_every_page(gateway: Gateway) -> None:
    name = "<script>alert(1)</script>"
    person = gateway.person(first_name=name)
    assert person["first_name"] == name
    delivery = gateway.servers.delivery(person["id"], "<img/src=x>@example.org")
    browser = gateway.browser()
    for page in ("users", f"users/{person['id']}", f"deliveries/{delivery}", "sequences", "email"):
        text = browser.page(f"/admin/dashboard/{page}")
        assert "<img" not in text and "<script>" not in text, page
    assert "&lt;script&gt;" in browser.page(f"/admin/dashboard/users/{person['id']}")
