"""Who gets into the dashboard, with what, for how long; and whose forms are believed."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from browser import HTML
from gateway_stand import KEY, Gateway, Servers

DASHBOARD, SIGN_IN = "/admin/dashboard", "/admin/sign-in"
TRIGGER = "/admin/dashboard/sequences/trigger"


def link(gateway: Gateway) -> str:
    made = gateway.post("/admin/api/sign-in-links")
    assert made.status_code == 201, made.text
    assert made.json()["url"].startswith("http://nurture.test/admin/sign-in/")
    return urlsplit(made.json()["url"]).path


def test_the_key_opens_the_page_that_was_asked_for(gateway: Gateway) -> None:
    browser = gateway.stranger()
    asked = browser.http.get(f"{DASHBOARD}/users?q=ada")
    assert asked.status_code == 303
    form = browser.page(asked.headers["location"])
    assert 'value="/admin/dashboard/users?q=ada"' in form
    wrong = browser.sign_in("not-the-key")
    assert wrong.status_code == 401 and "not the API key" in wrong.text and "not-the-key" not in wrong.text
    assert browser.http.get(DASHBOARD).status_code == 303
    right = browser.sign_in(KEY, "/admin/dashboard/users?q=ada")
    assert right.status_code == 303 and right.headers["location"] == "/admin/dashboard/users?q=ada"
    assert "Users" in browser.page(right.headers["location"])
    for elsewhere in ("https://evil.test/", "//evil.test/admin/dashboard", "/admin/dashboardx", "/admin/dashboard\\x"):
        assert gateway.stranger().sign_in(KEY, elsewhere).headers["location"] == DASHBOARD


def test_a_session_is_a_cookie_that_scripts_and_other_sites_cannot_use(gateway: Gateway) -> None:
    browser = gateway.stranger()
    cookie = browser.sign_in(KEY).headers.get_list("set-cookie")[0]
    assert cookie.startswith("nurture_session=") and "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert "Path=/" in cookie and "Domain" not in cookie
    token = browser.cookie("session").value
    kept = gateway.servers.sql("select token_mac from gateway.sessions")
    assert len(token) >= 43 and all(token.encode() not in row["token_mac"] for row in kept)
    page = browser.http.get(DASHBOARD)
    assert token not in page.text and page.headers["cache-control"] == "no-store"
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy and "default-src 'none'" in policy
    assert not re.search(r"<script>|<style|\son\w+=|style=", page.text)


@pytest.fixture(scope="module")
def elsewhere(servers: Servers) -> Iterator[Gateway]:
    """Another gateway on the same database: behind https, with a key of its own."""
    key = "another-key-0123456789"
    with ExitStack() as stack:
        gateway = Gateway(servers, stack, "elsewhere", PUBLIC_URL="https://nurture.test", ADMIN_API_KEY=key)
        gateway.http.headers["Authorization"] = f"Bearer {key}"
        yield gateway


def test_over_https_cookies_are_for_https_and_this_host_only(elsewhere: Gateway) -> None:
    form = elsewhere.stranger().http.get(SIGN_IN)
    assert form.headers["set-cookie"].startswith("__Host-nurture_visit=") and "Secure" in form.headers["set-cookie"]
    made = elsewhere.post("/admin/api/sign-in-links").json()["url"]
    assert made.startswith("https://nurture.test/admin/sign-in/")
    cookie = elsewhere.anonymous.get(urlsplit(made).path).headers["set-cookie"]
    assert cookie.startswith("__Host-nurture_session=") and "Secure" in cookie


def test_signing_out_ends_the_session_and_not_only_the_cookie(gateway: Gateway) -> None:
    browser, other = gateway.browser(), gateway.browser()
    token = browser.cookie("session").value
    assert browser.send(DASHBOARD, f"{DASHBOARD}/sign-out").headers["location"] == SIGN_IN
    browser.http.cookies.set("nurture_session", token)
    assert browser.http.get(DASHBOARD).status_code == 303
    assert "Overview" in other.page(DASHBOARD)


def test_sessions_grow_old(gateway: Gateway) -> None:
    browser = gateway.browser()
    assert "Overview" in browser.page(DASHBOARD)
    # Used, it lives on by hours, but never longer than a week.
    days = "update gateway.sessions set created_at = now() - interval '{}', seen_at = now() - interval '2 minutes'"
    left = "select extract(epoch from min(expires_at) - now()) / 3600 as hours from gateway.sessions"
    for age, hours in (("1 day", 12), ("6 days 20 hours", 4)):
        gateway.servers.sql(days.format(age))
        browser.page(DASHBOARD)
        assert round(gateway.servers.sql(left)[0]["hours"]) == hours
    gateway.servers.sql("update gateway.sessions set expires_at = now()")
    assert browser.http.get(DASHBOARD).status_code == 303


def test_another_key_signs_everybody_out(gateway: Gateway, elsewhere: Gateway) -> None:
    def opens(token: str) -> bool:
        cookie = {"Cookie": f"__Host-nurture_session={token}"}
        return elsewhere.stranger().http.get(DASHBOARD, headers=cookie).status_code == 200

    made = elsewhere.anonymous.get(urlsplit(elsewhere.post("/admin/api/sign-in-links").json()["url"]).path)
    assert opens(made.headers["set-cookie"].partition("=")[2].partition(";")[0])
    assert not opens(gateway.browser().cookie("session").value)


def test_a_link_signs_in_once(gateway: Gateway) -> None:
    path = link(gateway)
    # Looking at its head, or ahead, does not use it up.
    assert gateway.anonymous.head(path).status_code == 405
    assert gateway.anonymous.get(path, headers={"Sec-Purpose": "prefetch"}).status_code == 503
    first, second = gateway.stranger(), gateway.stranger()
    opened = first.http.get(path)
    assert opened.status_code == 303 and opened.headers["location"] == DASHBOARD
    assert "Overview" in first.page(DASHBOARD)
    again = second.http.get(path)
    assert again.status_code == 410 and "used before" in again.text and "nurture_session" not in str(again.headers)
    assert second.http.get(f"{SIGN_IN}/{'x' * 43}").status_code == 410


def test_a_link_lives_for_minutes_and_is_for_holders_of_the_key(gateway: Gateway) -> None:
    assert gateway.anonymous.post("/admin/api/sign-in-links").status_code == 401
    path = link(gateway)
    (row,) = gateway.servers.sql(
        "select expires_at - now() as left, token_mac from gateway.sign_in_links order by created_at desc limit 1"
    )
    assert 0 < row["left"].total_seconds() <= 300
    assert path.rpartition("/")[2].encode() not in row["token_mac"]
    gateway.servers.sql("update gateway.sign_in_links set expires_at = now()")
    assert gateway.stranger().http.get(path).status_code == 410


@pytest.mark.parametrize("forgery", ["none", "another session's", "another site"])
def test_a_form_from_elsewhere_is_refused(gateway: Gateway, forgery: str) -> None:
    browser = gateway.browser()
    fields = browser.hidden(f"{DASHBOARD}/sequences", TRIGGER) | {"user_id": "x", "sequence_type": "onboarding"}
    headers = {}
    if forgery == "none":
        del fields["form_token"]
    elif forgery == "another session's":
        fields["form_token"] = gateway.browser().hidden(f"{DASHBOARD}/sequences", TRIGGER)["form_token"]
    else:
        headers = {"Sec-Fetch-Site": "cross-site"}
    answer = browser.http.post(TRIGGER, data=fields, headers=headers)
    assert answer.status_code == 403 and "not from a page of this dashboard" in answer.text


def test_without_a_session_no_form_does_anything(gateway: Gateway) -> None:
    answer = gateway.anonymous.post(TRIGGER, data={"user_id": "x", "sequence_type": "onboarding"}, headers=HTML)
    assert answer.status_code == 401
    # The key in a header is for the API: a page's button needs a page.
    assert gateway.http.post(TRIGGER, data={"user_id": "x"}).status_code == 401


def test_the_sign_in_form_is_ours_too(gateway: Gateway) -> None:
    browser = gateway.stranger()
    assert browser.http.post(SIGN_IN, data={"key": KEY}).status_code == 403
    fields = browser.hidden(SIGN_IN, SIGN_IN)
    assert gateway.stranger().http.post(SIGN_IN, data=fields | {"key": KEY}).status_code == 403
