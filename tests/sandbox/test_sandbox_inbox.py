"""The inbox page: what it shows, what it keeps out, and what its buttons do."""

import re

import httpx
import pytest
from sandbox_process import Receiver, SandboxProcess, mail, tracked_mail


@pytest.fixture
def message_id(sandbox: SandboxProcess, receiver: Receiver) -> str:
    reply = sandbox.client.post("/emails", json=tracked_mail(receiver.url, "ann@example.com"))
    receiver.webhooks("email.delivered")
    return reply.json()["id"]


def play(sandbox: SandboxProcess, message_id: str, **form: str) -> httpx.Response:
    return sandbox.client.post(f"/messages/{message_id}/play", data=form)


def test_the_list_shows_newest_first_in_pages_and_finds_by_address(sandbox: SandboxProcess) -> None:
    sandbox.client.post("/emails/batch", json=[mail(f"n{n}@example.com", subject=f"Mail {n}") for n in range(60)])
    first = sandbox.client.get("/")
    assert first.headers["content-type"].startswith("text/html")
    subjects = re.findall(r'class="subject">Mail (\d+)<', first.text)
    assert subjects == [str(n) for n in range(59, 9, -1)]
    older = re.search(r'class="older" href="([^"]+)"', first.text)
    assert older
    second = sandbox.client.get(older.group(1).replace("&amp;", "&"))
    assert re.findall(r'class="subject">Mail (\d+)<', second.text) == [str(n) for n in range(9, -1, -1)]
    found = sandbox.client.get("/", params={"to": "N42@"})
    assert re.findall(r'class="subject">Mail (\d+)<', found.text) == ["42"]
    assert "No message to an address" in sandbox.client.get("/", params={"to": "zzz"}).text


def test_pages_say_that_nothing_is_sent_and_load_nothing_from_outside(sandbox: SandboxProcess, message_id: str) -> None:
    for path in ("/", f"/messages/{message_id}"):
        page = sandbox.client.get(path)
        assert page.status_code == 200
        assert "no message leaves this machine" in page.text
        assert "<script" not in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)
    assert sandbox.client.get("/inbox.css").headers["content-type"].startswith("text/css")


def test_hostile_content_stays_text_and_the_mail_stays_in_its_frame(sandbox: SandboxProcess) -> None:
    email_id = sandbox.send(subject="<script>alert(1)</script>", html="<script>alert(2)</script>Hi", text="<b>x</b>")
    page = sandbox.client.get(f"/messages/{email_id}").text
    assert "<script>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert f'<iframe sandbox src="/messages/{email_id}/html"' in page
    framed = sandbox.client.get(f"/messages/{email_id}/html")
    assert framed.text == "<script>alert(2)</script>Hi"
    assert framed.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


@pytest.mark.parametrize(
    ("form", "method", "path"),
    [
        ({"act": "open"}, "GET", "/t/o/pixel"),
        ({"act": "unsubscribe"}, "POST", "/u/token"),
    ],
)
def test_open_and_unsubscribe_use_the_mails_own_links(
    sandbox: SandboxProcess, receiver: Receiver, message_id: str, form: dict[str, str], method: str, path: str
) -> None:
    reply = play(sandbox, message_id, **form)
    assert reply.status_code == 303
    heard = receiver.visit(path)
    assert heard.method == method
    if method == "POST":
        assert heard.body == b"List-Unsubscribe=One-Click"
        assert "cookie" not in heard.headers and "authorization" not in heard.headers


def test_a_click_follows_the_chosen_link(sandbox: SandboxProcess, receiver: Receiver, message_id: str) -> None:
    play(sandbox, message_id, act="click", link=f"{receiver.url}/t/c/second")
    assert receiver.visit("/t/c/").path == "/t/c/second"
    assert sandbox.messages()[0]["state"] == "clicked"
    assert 'class="state clicked"' in sandbox.client.get(f"/messages/{message_id}").text


@pytest.mark.parametrize(("act", "kind"), [("bounce", "email.bounced"), ("complain", "email.complained")])
def test_bounce_and_complaint_come_as_webhooks(
    sandbox: SandboxProcess, receiver: Receiver, message_id: str, act: str, kind: str
) -> None:
    play(sandbox, message_id, act=act)
    (webhook,) = receiver.webhooks(kind)
    assert webhook.data["email_id"] == message_id


def test_forms_from_elsewhere_and_foreign_links_are_refused(sandbox: SandboxProcess, message_id: str) -> None:
    url = f"/messages/{message_id}/play"
    elsewhere = sandbox.client.post(url, data={"act": "bounce"}, headers={"sec-fetch-site": "cross-site"})
    assert elsewhere.status_code == 403
    assert play(sandbox, message_id, act="click", link="http://192.0.2.1/t/c/x").status_code == 422
    assert play(sandbox, message_id, act="explode").status_code == 422
    assert sandbox.client.get("/messages/nothing").status_code == 404
