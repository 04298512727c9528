"""events send, score, why, sequences pause and resume: what they ask, and what they say in words."""

from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from nurture_local import cli
from nurture_local.commands import events, why

Served = Callable[[Callable[[httpx.Request], httpx.Response]], list[httpx.Request]]
pytestmark = pytest.mark.usefixtures("nowhere")


def _taken(request: httpx.Request) -> httpx.Response:
    """A gateway that knows everybody but `nobody`, and has had the event `twice` before."""
    results = []
    for index, event in enumerate(msgspec.json.decode(request.content)["events"]):
        if event["user"] == "nobody":
            results.append({"index": index, "status": "rejected", "reason": "user: there is no person [nobody]"})
        else:
            results.append({"index": index, "status": "repeated" if event.get("event_id") == "twice" else "accepted"})
    return httpx.Response(202, json={"results": results})


def _sent(seen: list[httpx.Request]) -> list[list[dict[str, Any]]]:
    return [msgspec.json.decode(request.content)["events"] for request in seen]


def test_one_event(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    seen = served(_taken)
    assert cli.call(["events", "send", "ada", "attended", "--at", "2026-01-05T09:00", "--id", "twice"]) == 0
    assert capsys.readouterr().out == "repeated 1\n"
    assert seen[0].url.path == "/admin/api/events"
    at = "2026-01-05T09:00:00+00:00"
    assert _sent(seen) == [[{"user": "ada", "event": "attended", "at": at, "event_id": "twice"}]]


def test_a_rejected_event_is_1(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served(_taken)
    assert cli.call(["events", "send", "nobody", "attended"]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("rejected 1\n", "  user: there is no person [nobody]\n")


def test_files_name_the_line_of_what_was_rejected(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = served(_taken)
    (tmp_path / "e.csv").write_text(
        "\ufeffuser,event,at,note\nada,attended,,x\n\nnobody,missed,2026-01-05T09:00:00Z,y\n"
    )
    assert cli.call(["events", "send", "--file", "e.csv"]) == 1
    told = capsys.readouterr()
    assert told.out == "accepted 1, rejected 1\n"
    assert told.err.startswith("  line 4: user:")
    (tmp_path / "e.ndjson").write_text('{"user": "ada", "event": "attended"}\n\n{"user": "nobody", "event": "x"}\n')
    assert cli.call(["events", "send", "--file", "e.ndjson"]) == 1
    assert capsys.readouterr().err.startswith("  line 3: user:")
    assert _sent(seen)[0] == [
        {"user": "ada", "event": "attended"},
        {"user": "nobody", "event": "missed", "at": "2026-01-05T09:00:00Z"},
    ]


def test_a_long_file_goes_in_pages(served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = served(_taken)
    (tmp_path / "e.ndjson").write_text('{"user": "ada", "event": "attended"}\n' * (events.PAGE + 1))
    assert cli.call(["events", "send", "--file", "e.ndjson"]) == 0
    assert [len(page) for page in _sent(seen)] == [events.PAGE, 1]
    assert capsys.readouterr().out == f"accepted {events.PAGE + 1}\n"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("e.csv", "person,event\nada,attended\n", "does not name user"),
        ("e.csv", 'user,event\n"ada,attended\n', "after line 1"),
        ("e.ndjson", '{"user": "ada", "event": "x"}\n[]\n', "line 2: this is no JSON object; nothing was sent"),
        ("e.ndjson", "\n", "holds no events"),
        ("e.ndjson", "\udcff", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_sends_nothing(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, told: str
) -> None:
    seen = served(_taken)
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    assert cli.call(["events", "send", "--file", name]) == 1
    assert told in capsys.readouterr().err.replace("\n", " ")
    assert seen == []


def _factors(**more: Any) -> dict[str, Any]:
    return {"r": 1.2, "n": 2.5, "mean": 0.2, "blocked": False, "messages": 3, "last": [], **more}


def test_scores_are_explained(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    last = [{"kind": "clicked", "at": "2026-01-05T09:00:00Z", "credit": 1.0}]
    scores = [
        {"score_type": "overall", "score": 31.25, "factors": _factors(parts={"email": {"score": 40, "n": 2}})},
        {"score_type": "email", "score": 40, "factors": _factors(last=last)},
        {"score_type": "email", "score": 0, "factors": _factors(last=[last[0] | {"credit": 0.0}])},
        {"score_type": "telegram", "score": 0, "factors": _factors(blocked=True)},
        {"score_type": "attendance", "score": 20, "factors": {"r": 0, "n": 0, "mean": 0.2, "events": 0, "last": []}},
    ]
    seen = served(lambda _: httpx.Response(200, json={"user_id": "1", "scores": scores}))
    assert cli.call(["score", "ada lovelace"]) == 0
    assert seen[0].url.raw_path == b"/admin/api/users/ada%20lovelace/scores"
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, told)) < 100, "a usual terminal shows it whole"
    _, overall, channels, _, email, _, hasty, telegram, attendance = told
    words = "overall 31.2 3 messages, older ones counting less: 1.20 of 2.50 answered; everybody's rate is 20%"
    assert (overall, channels) == (words, "email 40.0")
    assert email == "last: clicked on 2026-01-05, worth 1"
    assert hasty == "last: clicked on 2026-01-05, taken for a machine's, worth nothing"
    assert "blocked: the person refused it" in telegram
    assert "no events yet" in attendance
    assert cli.call(["score", "ada", "-o", "json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["scores"] == scores


def _told(**more: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "sequence_type": "onboarding",
        "step": 1,
        "channel": "email",
        "status": "opened",
        "failure_reason": None,
        "variant": None,
        "tier": None,
        "scheduled_at": "2026-01-05T08:00:00Z",
        "decided": "send",
        "reasons": [
            {"code": "default_channel", "text": "Email comes first."},
            {"code": "reachable", "text": "It works."},
        ],
        "inputs": {"scores": {"email": 31.4}, "contacts": {"email": {"state": "ok", "consent": "granted"}}},
        "fallback": None,
        **more,
    }


def test_why_says_which_channel_and_why(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    person = {
        "id": "1",
        "external_id": "ada",
        "first_name": "Ada",
        "timezone": "Europe/Paris",
        "preferred_channel": None,
    }
    contacts = [
        {"channel": "email", "state": "ok", "reason": None, "consent": "granted"},
        {"channel": "telegram", "state": "blocked", "reason": "gone", "consent": "granted"},
    ]
    enrolment = {"sequence_type": "onboarding", "sequence_version": 2, "state": "active", "step": 2, "paused": True,
                 "next_at": "2026-01-06T08:00:00Z", "ended_reason": None}  # fmt: skip
    answer = {"person": person, "contacts": contacts, "scores": {"overall": 31.4}, "enrolments": [enrolment],
              "deliveries": [_told()]}  # fmt: skip
    seen = served(lambda _: httpx.Response(200, json=answer))
    assert cli.call(["why", "ada", "--sequence", "onboarding"]) == 0
    assert dict(seen[0].url.params) == {"sequence_type": "onboarding", "limit": "50"}
    assert capsys.readouterr().out.splitlines() == [
        "Ada (ada): email ok, telegram blocked (gone)",
        "scores: overall 31",
        "onboarding version 2: active, step 2 is due 2026-01-06 09:00 Europe/Paris, paused",
        "",
        "2026-01-05 09:00 Europe/Paris  onboarding step 1 by Email: opened",
        "  why Email: Email comes first. It works.",
        "  known then: email score 31, email ok",
    ]


def test_why_not_and_what_followed_a_failure() -> None:
    refused = [{"code": "consent_refused", "text": "The person refused Email."}]
    skipped = why.account(_told(decided="skip", status="suppressed", reasons=refused, inputs={}), UTC)
    assert skipped[1].endswith("onboarding step 1: not sent, suppressed")
    assert skipped[2:] == ["  why not: The person refused Email."]
    over = {"decision": "send", "reasons": [{"code": "fallback", "text": "Email failed, so Telegram takes over."}]}
    bounced = why.account(_told(status="bounced", failure_reason="hard_bounce", fallback=over), UTC)
    assert bounced[1].endswith("by Email: bounced (hard_bounce)")
    assert bounced[-1] == "  after it failed, the other channel took over: Email failed, so Telegram takes over."
    left = {"decision": "no_fallback", "reasons": refused}
    assert why.account(_told(status="bounced", fallback=left), UTC)[-1].startswith(
        "  after it failed, no other channel:"
    )
    assert why.account(_told(decided=None, reasons=[]), UTC)[2] == "  why: the decision is not kept any more"


def test_somebody_to_whom_nothing_was_sent(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    person = {"id": "1", "external_id": None, "first_name": "", "timezone": "Mars/Crater", "preferred_channel": None}
    served(lambda _: httpx.Response(200, json={"person": person, "contacts": [], "scores": {}, "enrolments": [],
                                               "deliveries": []}))  # fmt: skip
    assert cli.call(["why", "1"]) == 0
    assert capsys.readouterr().out == "Somebody without a name (1): no address\nNo message was decided yet.\n"


def test_a_sequence_is_paused_also_when_the_answer_comes_late(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    held = {"type": "onboarding", "paused": True, "enrolments": 7}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("pause"):
            return httpx.Response(202, json={"command_id": "1", "status_url": "/admin/api/commands/1"})
        if request.url.path.endswith("resume"):
            return httpx.Response(200, json=held)
        return httpx.Response(200, json={"state": "settled", "status": 200, "result": held})

    seen = served(answer)
    assert cli.call(["sequences", "pause", "onboarding"]) == 0
    assert capsys.readouterr().out == "paused onboarding: running enrolments that wait: 7\n"
    assert cli.call(["sequences", "resume", "onboarding"]) == 0
    assert capsys.readouterr().out == "resumed onboarding: enrolments that go on: 7\n"
    paths = [request.url.path for request in seen]
    assert paths[0] == "/admin/api/sequences/onboarding/pause" and paths[2] == "/admin/api/sequences/onboarding/resume"
