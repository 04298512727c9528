"""Resend's protocol, spoken by Resend's own SDK."""

import threading
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
import resend
from resend.exceptions import ResendError
from sandbox_process import SandboxProcess, mail


@pytest.fixture(autouse=True)
def sdk(provider: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxProcess]:
    monkeypatch.setattr(resend, "api_key", "re_test")
    monkeypatch.setattr(resend, "api_url", provider.url)
    yield provider
    provider.client.delete("/api/chaos")


def send(key: str | None = None, **fields: Any) -> str:
    options = cast(Any, {"idempotency_key": key} if key else None)
    return resend.Emails.send(cast(Any, mail(**fields)), options)["id"]


def send_batch(items: list[dict[str, Any]], **options: str) -> Any:
    return resend.Batch.send(cast(Any, items), cast(Any, options))


def test_a_sent_email_can_be_read_back() -> None:
    email_id = send(to="reader@example.com", tags=[{"name": "kind", "value": "test"}])
    email = cast(Any, resend.Emails.get(email_id))
    assert email["id"] == email_id
    assert email["to"] == ["reader@example.com"]
    assert email["subject"] == "Welcome"
    assert email["last_event"] in ("sent", "delivered")
    assert email["tags"] == [{"name": "kind", "value": "test"}]


def test_the_ledger_holds_what_was_sent(provider: SandboxProcess) -> None:
    tags = [{"name": "delivery_id", "value": "0198c0de-aaaa-7000-8000-000000000001"}]
    email_id = send(key="ledger/1", to="Ledger <ledger@example.com>", tags=tags)
    (message,) = provider.messages(to="LEDGER@example.com")
    assert message["id"] == email_id
    assert message["channel"] == "email"
    assert message["to"] == "ledger@example.com"
    assert (message["subject"], message["text"], message["html"]) == ("Welcome", "Hello", "<p>Hello</p>")
    assert message["delivery_id"] == tags[0]["value"]
    assert message["idempotency_key"] == "ledger/1"
    assert message["at"].endswith("Z")


def test_a_batch_answers_in_order_and_is_listed_oldest_first(provider: SandboxProcess) -> None:
    to = [f"batch{n}@example.com" for n in range(100)]
    reply = send_batch([mail(address) for address in to])
    ids = [entry["id"] for entry in reply["data"]]
    listed = [message for message in provider.messages() if message["to"].startswith("batch")]
    assert [message["to"] for message in listed] == to
    assert [message["id"] for message in listed] == ids
    assert [message["id"] for message in provider.messages(after=ids[49], limit=10)] == ids[50:60]


def test_a_strict_batch_with_one_bad_email_sends_nothing(provider: SandboxProcess) -> None:
    before = provider.summary()["messages"]
    with pytest.raises(ResendError, match="to") as caught:
        send_batch([mail("ok@example.com"), mail("not an address")])
    assert (caught.value.code, caught.value.error_type) == (422, "validation_error")
    assert provider.summary()["messages"] == before


def test_a_permissive_batch_sends_the_good_and_names_the_bad(provider: SandboxProcess) -> None:
    before = provider.summary()["messages"]
    items = [mail("one@example.com"), mail("nobody"), mail("two@example.com", attachments=[{"content": "eA=="}])]
    reply = send_batch([*items, mail("three@example.com")], batch_validation="permissive")
    assert len(reply["data"]) == 2
    assert [error["index"] for error in reply["errors"]] == [1, 2]
    assert "attachments" in reply["errors"][1]["message"]
    assert provider.summary()["messages"] == before + 2


@pytest.mark.parametrize("size", [0, 101])
def test_a_batch_has_1_to_100_emails(size: int) -> None:
    with pytest.raises(ResendError, match="100") as caught:
        send_batch([mail()] * size)
    assert caught.value.code == 422


def test_the_same_key_and_payload_send_once(provider: SandboxProcess) -> None:
    before = provider.summary()["messages"]
    assert send(key="once/1") == send(key="once/1")
    batch = [mail(f"again{n}@example.com") for n in range(3)]
    first, again = (send_batch(batch, idempotency_key="once/2")["data"] for _ in range(2))
    assert first == again
    assert provider.summary()["messages"] == before + 4


def test_the_same_key_with_another_payload_is_refused() -> None:
    send(key="other/1")
    with pytest.raises(ResendError) as caught:
        send(key="other/1", subject="Another")
    assert (caught.value.code, caught.value.error_type) == (409, "invalid_idempotent_request")
    with pytest.raises(ResendError) as caught:
        send_batch([mail()], idempotency_key="other/1")
    assert caught.value.error_type == "invalid_idempotent_request"


def test_a_refused_request_does_not_use_up_its_key() -> None:
    with pytest.raises(ResendError):
        send(key="refused/1", to="nobody")
    assert send(key="refused/1")


def test_a_key_longer_than_256_characters_is_refused() -> None:
    with pytest.raises(ResendError) as caught:
        send(key="k" * 257)
    assert (caught.value.code, caught.value.error_type) == (400, "invalid_idempotency_key")
    assert send(key="k" * 256)


def test_two_requests_under_one_key_at_the_same_time_send_once(provider: SandboxProcess) -> None:
    before = provider.summary()["messages"]
    batch = [mail(f"race{n}@example.com", html="x" * 50_000) for n in range(100)]
    replies: list[httpx.Response] = []

    def post() -> None:
        headers = {"authorization": "Bearer re_test", "idempotency-key": "race/1"}
        replies.append(httpx.post(f"{provider.url}/emails/batch", json=batch, headers=headers, timeout=20))

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert provider.summary()["messages"] == before + 100
    answers = {reply.text for reply in replies if reply.status_code == 200}
    refusals = {reply.json()["name"] for reply in replies if reply.status_code != 200}
    assert len(answers) == 1
    assert refusals <= {"concurrent_idempotent_requests"}


@pytest.mark.parametrize(
    ("key", "code", "name"),
    [
        ("sk_live", 403, "invalid_api_key"),
        ("re_suspended_1", 403, "suspended_api_key"),
    ],
)
def test_keys_that_may_not_send(monkeypatch: pytest.MonkeyPatch, key: str, code: int, name: str) -> None:
    monkeypatch.setattr(resend, "api_key", key)
    with pytest.raises(ResendError) as caught:
        send()
    assert (caught.value.code, caught.value.error_type) == (code, name)


def test_a_restricted_key_sends_but_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_key", "re_restricted_1")
    email_id = send()
    with pytest.raises(ResendError) as caught:
        resend.Emails.get(email_id)
    assert (caught.value.code, caught.value.error_type) == (401, "restricted_api_key")


def test_a_call_without_a_key_is_refused(provider: SandboxProcess) -> None:
    reply = httpx.post(f"{provider.url}/emails", json=mail())
    assert reply.status_code == 401
    assert set(reply.json()) == {"statusCode", "name", "message"}
    assert reply.json()["name"] == "missing_api_key"


@pytest.mark.parametrize(
    ("change", "name", "field"),
    [
        ({"from": ""}, "missing_required_field", "from"),
        ({"to": []}, "missing_required_field", "to"),
        ({"subject": None}, "missing_required_field", "subject"),
        ({"html": None, "text": None}, "validation_error", "html"),
        ({"from": "Nurture hello@"}, "validation_error", "from"),
        ({"to": ["jörg@example.com"]}, "validation_error", "to"),
        ({"to": [f"n{n}@example.com" for n in range(51)]}, "validation_error", "to"),
        ({"cc": "nobody"}, "validation_error", "cc"),
        ({"headers": {"X-Count": 1}}, "validation_error", "headers"),
        ({"headers": {"X-Name": "a\r\nBcc: b@example.com"}}, "validation_error", "headers"),
        ({"tags": [{"name": "step one", "value": "1"}]}, "validation_error", "Tags"),
        ({"tags": [{"name": "step", "value": "1.5"}]}, "validation_error", "Tags"),
        ({"tags": [{"name": "step", "value": "x" * 257}]}, "validation_error", "Tags"),
        ({"attachments": [{"filename": "a.txt"}]}, "invalid_attachment", "ttachment"),
    ],
)
def test_fields_are_checked(provider: SandboxProcess, change: dict[str, Any], name: str, field: str) -> None:
    reply = provider.client.post("/emails", json=mail() | change)
    assert reply.status_code == 422
    assert reply.json()["name"] == name
    assert field in reply.json()["message"]


def test_text_is_made_from_html_when_it_is_absent_and_not_when_it_is_empty(provider: SandboxProcess) -> None:
    html = "<style>p{}</style><p>Hello <b>Ann</b></p><p>Bye</p>"
    made = cast(Any, resend.Emails.get(send(html=html, text=None)))
    assert made["text"] == "Hello Ann\nBye"
    assert cast(Any, resend.Emails.get(send(html=html, text="")))["text"] is None


def test_malformed_json_unknown_paths_and_methods(provider: SandboxProcess) -> None:
    malformed = provider.client.post("/emails", content=b"{")
    assert (malformed.status_code, malformed.json()["name"]) == (400, "validation_error")
    unknown = provider.client.get("/broadcasts")
    assert (unknown.status_code, unknown.json()["name"]) == (404, "not_found")
    method = provider.client.delete("/emails")
    assert (method.status_code, method.json()["name"]) == (405, "method_not_allowed")
    missing = provider.client.get("/emails/00000000-0000-4000-8000-000000000000")
    assert (missing.status_code, missing.json()["name"]) == (404, "not_found")


def test_a_scripted_failure_has_no_effect(provider: SandboxProcess) -> None:
    before = provider.summary()["messages"]
    provider.chaos(fail_next=1, status=429, name="daily_quota_exceeded")
    with pytest.raises(ResendError) as caught:
        send(key="chaos/1")
    assert (caught.value.code, caught.value.error_type) == (429, "daily_quota_exceeded")
    assert provider.summary()["messages"] == before
    assert send(key="chaos/1")


def test_a_broken_upstream_answers_html(provider: SandboxProcess) -> None:
    provider.chaos(fail_next=1, status=502)
    reply = provider.client.post("/emails", json=mail())
    assert (reply.status_code, reply.headers["content-type"].split(";")[0]) == (502, "text/html")


def test_an_accepted_call_whose_connection_closes_is_settled_by_a_retry(provider: SandboxProcess) -> None:
    before = provider.summary()["messages"]
    provider.chaos(close_after_accept=1)
    call = {"json": [mail("closed@example.com")], "headers": {"idempotency-key": "closed/1"}}
    with pytest.raises(httpx.TransportError):
        provider.client.post("/emails/batch", **call)
    (accepted,) = provider.messages(to="closed@example.com")
    retried = provider.client.post("/emails/batch", **call)
    assert retried.json() == {"data": [{"id": accepted["id"]}]}
    assert provider.summary()["messages"] == before + 1


def test_a_hanging_call_times_out_at_the_client(provider: SandboxProcess) -> None:
    provider.chaos(fail_next=1, hang_seconds=2)
    with pytest.raises(httpx.ReadTimeout):
        provider.client.post("/emails", json=mail(), timeout=0.3)


def test_chaos_refuses_what_it_does_not_know(provider: SandboxProcess) -> None:
    reply = provider.client.post("/api/chaos", json={"fail_nxt": 1})
    assert reply.status_code == 422
    assert "fail_nxt" in reply.json()["message"]
