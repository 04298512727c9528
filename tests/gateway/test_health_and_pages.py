"""The front door, the documentation, the headers, and what an error looks like."""

import re

import httpx
from gateway_stand import Gateway


def problem(answer: httpx.Response, status: int, code: str) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body = answer.json()
    assert {"type", "title", "status", "detail", "hint", "code", "errors", "request_id"} <= body.keys()
    assert body["status"] == status and body["code"] == code
    assert body["hint"]
    return body


def test_health_needs_no_key_and_says_sandbox(gateway: Gateway) -> None:
    body = gateway.anonymous.get("/").json()
    assert body["status"] == "ok" and body["email"] == "sandbox" and body["services"] == {"gateway": "ready"}
    for path in ("/health/live", "/health/ready", "/health/serving", "/metrics", "/asyncapi", "/openapi.json"):
        assert gateway.anonymous.get(path).status_code == 200, path


def test_a_browser_is_sent_to_a_page_that_shows_no_data_without_a_key(gateway: Gateway) -> None:
    person = gateway.person()
    gateway.servers.delivery(person["id"], person["email"])
    stranger = gateway.stranger()
    answer = stranger.http.get("/")
    assert answer.status_code == 302 and answer.headers["location"] == "/admin/dashboard"
    for path in ("", "/users", f"/users/{person['id']}", "/live"):
        answer = stranger.http.get(f"/admin/dashboard{path}")
        assert answer.status_code == 303 and answer.headers["location"].startswith("/admin/sign-in?next="), path
        assert person["email"] not in answer.text
    assert "email: sandbox" in stranger.page("/admin/sign-in")
    assert person["email"] in gateway.browser().page(f"/admin/dashboard/users/{person['id']}")


def test_docs_load_nothing_from_outside(gateway: Gateway) -> None:
    page = gateway.anonymous.get("/docs")
    assert page.status_code == 200 and "/admin/api/nurture/trigger" in page.text
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", page.text)
    assert "<script" not in page.text
    assert gateway.anonymous.get("/static/nurture.css").headers["content-type"].startswith("text/css")


def test_docs_say_what_each_field_of_a_trigger_means(gateway: Gateway) -> None:
    page = gateway.anonymous.get("/docs").text
    for path in ("trigger", "simulate"):
        body = page.partition(f"/admin/api/nurture/{path}</code>")[2].partition("</table>")[2].partition("</table>")[0]
        fields = re.findall(r"<tr><td><code>(\w+)</code>.*?</td>\s*<td[^>]*>(.*?)</td>", body, re.DOTALL)
        assert {"user_ids", "segment", "context", "override_channel"} <= {name for name, _ in fields}
        assert all(". " in f"{meaning} " for _, meaning in fields), fields


def test_every_answer_has_security_headers_and_a_request_id(gateway: Gateway) -> None:
    for path in ("/", "/docs", "/admin/api/users", "/nowhere", "/t/o/x", "/u/x", "/admin/dashboard", "/admin/sign-in"):
        headers = gateway.anonymous.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-request-id"]
    assert gateway.anonymous.get("/", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert gateway.http.get("/admin/api/users").headers["cache-control"] == "no-store"


def test_errors_are_problems(gateway: Gateway) -> None:
    problem(gateway.anonymous.get("/nowhere"), 404, "not_found")
    body = problem(gateway.anonymous.delete("/admin/api/users"), 405, "method_not_allowed")
    assert "DELETE" in body["detail"]
    problem(gateway.anonymous.get("/admin/api/users"), 401, "unauthorized")
    problem(gateway.anonymous.get("/admin/api/users", headers={"Authorization": "Bearer wrong"}), 401, "unauthorized")
    problem(gateway.anonymous.get("/admin/api/users", headers={"Authorization": "Basic x"}), 401, "unauthorized")
    problem(gateway.http.get("/admin/api/users?cursor=nonsense"), 400, "bad_cursor")
    problem(gateway.http.get("/admin/api/users?limit=0"), 400, "malformed_request")
    problem(gateway.http.get("/admin/api/users?q=%00"), 400, "malformed_request")
    problem(gateway.http.get("/admin/api/commands/not-a-uuid"), 404, "not_found")


def test_malformed_json_names_field_and_reason(gateway: Gateway) -> None:
    def errors(body: str) -> list[dict]:
        answer = gateway.http.post("/admin/api/users", content=body, headers={"Content-Type": "application/json"})
        return problem(answer, 400, "malformed_request")["errors"]

    assert errors('{"first_name": 5}')[0]["field"] == "first_name"
    assert errors('{"first_name": 5}')[0]["reason"] == "must be text, not a whole number"
    channel = errors('{"first_name": "A", "preferred_channel": "fax"}')
    assert channel == [{"field": "preferred_channel", "reason": "must be one of email, telegram"}]
    assert errors('{"first_name": "A", "nmae": 1}') == [{"field": "nmae", "reason": "is not a known field"}]
    assert errors("{}") == [{"field": "first_name", "reason": "is missing"}]
    assert errors('{"first_name": "A"')[0]["field"] == "body"
    assert errors("[]")[0]["field"] == "body"
    assert errors('{"first_name": "A\\u0000"}')[0]["field"] == "first_name"
    found = errors('{"first_name": "A", "email": "a@@b", "timezone": "Mars/Base", "telegram_chat_id": "@ada"}')
    assert {error["field"] for error in found} == {"email", "timezone", "telegram_chat_id"}


def test_bodies_have_a_limit(gateway: Gateway) -> None:
    big = '{"first_name": "' + "x" * (1024 * 1024) + '"}'
    answer = gateway.http.post("/admin/api/users", content=big, headers={"Content-Type": "application/json"})
    problem(answer, 413, "body_too_large")


BODILESS = (
    "/process",
    "/clear-failed",
    "/retry",
    "/replay",
    "/sign-in-links",
    "/telegram-link",
    "/verification",
    "{type_name}/pause",
    "{type_name}/resume",
)


def test_the_openapi_document_has_these_paths(gateway: Gateway) -> None:
    document = gateway.anonymous.get("/openapi.json").json()
    paths = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert paths == {
        "GET /",
        "GET /admin/api/commands",
        "GET /admin/api/commands/{command_id}",
        "GET /admin/api/dead-letters",
        "GET /admin/api/deliveries",
        "GET /admin/api/deliveries/doubts",
        "GET /admin/api/deliveries/summary",
        "GET /admin/api/deliveries/{delivery_id}",
        "GET /admin/api/email/queue",
        "GET /admin/api/email/stats",
        "GET /admin/api/email/test/{test_id}",
        "GET /admin/api/metrics",
        "GET /admin/api/nurture/analytics",
        "GET /admin/api/nurture/analytics/variants",
        "GET /admin/api/users/{ref}/preferences",
        "PATCH /admin/api/users/{ref}/preferences",
        "POST /admin/api/deliveries/{delivery_id}/resend",
        "POST /admin/api/email/queue/clear-failed",
        "POST /admin/api/email/queue/process",
        "POST /admin/api/email/queue/retry",
        "POST /admin/api/email/reports",
        "GET /admin/api/email/suppressions",
        "POST /admin/api/email/suppressions",
        "DELETE /admin/api/email/suppressions/{address}",
        "POST /admin/api/nurture/process",
        "GET /admin/api/nurture/active",
        "GET /admin/api/nurture/holds",
        "POST /admin/api/nurture/pause",
        "POST /admin/api/nurture/resume",
        "GET /admin/api/sequences",
        "GET /admin/api/sequences/{type_name}",
        "GET /admin/api/users",
        "GET /admin/api/users/{ref}",
        "GET /admin/api/users/{ref}/scores",
        "GET /admin/api/users/{ref}/why",
        "PATCH /admin/api/users/{ref}",
        "POST /admin/api/dead-letters/{letter_id}/replay",
        "POST /admin/api/email/test",
        "POST /admin/api/email/webhook",
        "POST /admin/api/events",
        "POST /admin/api/nurture/cancel",
        "POST /admin/api/nurture/simulate",
        "POST /admin/api/nurture/trigger",
        "POST /admin/api/sequences",
        "POST /admin/api/sequences/lint",
        "POST /admin/api/sequences/{type_name}/pause",
        "POST /admin/api/sequences/{type_name}/resume",
        "POST /admin/api/sign-in-links",
        "POST /admin/api/telegram/updates",
        "POST /admin/api/users",
        "POST /admin/api/users/import",
        "POST /admin/api/users/{ref}/telegram-link",
        "POST /admin/api/users/{ref}/verification",
        "POST /telegram/webhook",
    }
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["summary"] and operation["tags"], path
            if path.startswith("/admin/api"):
                refused = operation["responses"]["400"]["content"]
                assert list(refused) == ["application/problem+json"]
            if method == "post" and not path.endswith(BODILESS):
                (content, *_) = operation["requestBody"]["content"].values()
                assert content.get("examples") or content["schema"]["examples"], path
