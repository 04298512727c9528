"""Bytes that no honest client sends: each is answered with a problem, none with a 5xx, and nothing is stored."""

import pytest
from gateway_stand import Gateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TRIGGER = "/admin/api/nurture/trigger"
USERS = "/admin/api/users"
JSON = {"Content-Type": "application/json"}
DEEP = b"[" * 200_000 + b"]" * 200_000
LONG = b"9" * 20_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TRIGGER, b'{"sequence_type":"a","user_id":"x","context":{"a":' + DEEP + b"}}"),
        (TRIGGER, b'{"sequence_type":"a","segment":"all","context":{"a":' + LONG + b"}}"),
        (TRIGGER, b'{"sequence_type":"a\\u0000","segment":"all"}'),
        (TRIGGER, b'{"sequence_type":"a","user_id":"x\\u0000"}'),
        (USERS, b'{"first_name":"a","telegram_chat_id":' + LONG + b"}"),
        (USERS, b'{"first_name":"\\ud800"}'),
        (USERS, b'{"first_name":"\xff"}'),
        (USERS, b'{"first_name":"a\\u2028b"}'),
        (USERS, b""),
        (USERS, b"null"),
        (USERS, b'{"first_name":"a","attributes":{"\\u0000":1}}'),
        ("/admin/api/sequences", b'{"toml":"\\u0000"}'),
    ],
    ids=range(12),
)
def test_bodies(gateway: Gateway, path: str, body: bytes) -> None:
    answer = gateway.http.post(path, content=body, headers=JSON)
    assert answer.status_code == 400 and answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["errors"][0]["field"] and answer.json()["errors"][0]["reason"]


@pytest.mark.parametrize(
    "path",
    [
        "/admin/api/deliveries?since=0001-01-01T00:00:00%2B14:00",
        "/admin/api/deliveries?since=x",
        "/admin/api/sequences/x?version=99999999999",
        "/admin/api/users?cursor=%FF%FE",
        "/admin/api/users?cursor=" + "_" * 36,
        "/admin/api/users/%00",
        "/admin/api/users?limit=abc",
        "/admin/api/users/" + "a" * 3000,
    ],
)
def test_addresses(gateway: Gateway, path: str) -> None:
    assert gateway.http.get(path).status_code == 400


def test_a_csv_with_garbage_in_cells_keeps_the_rest(gateway: Gateway) -> None:
    text = (
        b"external_id,first_name,attributes\nz1,A\x00B,\nz2,"
        + b"x" * 200_000
        + b',\nz3,,"{""a"": NaN}"\nz4,,"{""a"":""\\ud800""}"\n'
    )
    text += b'z5,,"{""a"":' + b"[" * 50_000 + b'}"\nz6,Fine,\n'
    answer = gateway.http.post("/admin/api/users/import", content=text, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200
    assert [line["line"] for line in answer.json()["rejected"]] == [2, 3, 4, 5, 6]


def test_names_with_joiners_are_names(gateway: Gateway) -> None:
    assert gateway.person(first_name="می\u200cخواهم")["first_name"] == "می\u200cخواهم"


def test_head_is_get_without_a_body(gateway: Gateway) -> None:
    for path in ("/", "/docs", "/admin/sign-in"):
        answer = gateway.anonymous.head(path)
        assert answer.status_code == 200 and answer.content == b""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    ["user_id", "user_ids", "segment", "sequence_type", "context", "override_channel", "confirm", "first_name", "email",
     "external_id", "id", "timezone", "attributes", "telegram_chat_id", "email_address", "user_name"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([USERS, "/admin/api/email/test", "/admin/api/nurture/cancel"]),
    st.dictionaries(fields, json_values, max_size=6),
)
# Without words that would make the gateway wait for a controller that is not there.
def test_no_json_makes_an_error_of_ours(gateway: Gateway, path: str, body: dict) -> None:
    answer = gateway.post(path, body)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"].startswith("application/problem+json")
