"""email report: a mail that came back goes to the gateway as it is; addresses that get no mail."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from nurture_local import cli

Handler = Callable[[httpx.Request], httpx.Response]
pytestmark = pytest.mark.usefixtures("nowhere")


def test_a_returned_mail_is_passed_on_as_it_is(
    served: Callable[[Handler], list[httpx.Request]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = [
        {"status": "stored", "event": "bounced", "delivery_id": "0198b2f4-6c00-7000-8000-000000000001", "detail": None},
        {"status": "ignored", "event": None, "delivery_id": None, "detail": "it is a letter."},
    ]
    answers = iter(told)
    seen = served(lambda _: httpx.Response(200, json=next(answers)))
    mail = tmp_path / "mail"
    mail.write_bytes(b"From: x\r\n\r\n\xff\n")
    assert [cli.call(["email", "report", str(mail)]) for _ in told] == [0, 0]
    assert (seen[0].url.path, seen[0].content) == ("/admin/api/email/reports", mail.read_bytes())
    assert seen[0].headers["content-type"] == "message/rfc822"
    assert capsys.readouterr().out.splitlines() == [
        "stored: bounced 0198b2f4-6c00-7000-8000-000000000001",
        "ignored: it is a letter.",
    ]
    assert cli.call(["email", "report", str(tmp_path / "none")]) == 1


def test_closed_addresses_are_listed_closed_and_lifted(
    served: Callable[[Handler], list[httpx.Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    one = {
        "address": "a/b+c@x.test", "reason": "manual", "at": "2027-01-05T18:00:00Z", "delivery_id": None,
        "note": "[by phone]", "user_id": None,
    }  # fmt: skip
    answers = iter([{"items": [one], "next": "x"}, {"items": [one], "next": None}, one, one])
    seen = served(lambda _: httpx.Response(200, json=next(answers)))
    assert cli.call(["email", "suppressed", "a/b", "--reason", "manual"]) == 0
    assert dict(seen[0].url.params) == {"q": "a/b", "reason": "manual", "limit": "200"}
    _, line, more = capsys.readouterr().out.splitlines()
    assert line.split() == ["a/b+c@x.test", "manual", "2027-01-05T18:00:00", "[by", "phone]"]
    assert more == "there are more: name how the address begins"
    assert cli.call(["email", "suppressed", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"items": [one], "next": None}
    assert cli.call(["email", "suppress", "a/b+c@x.test", "--note", "[by phone]"]) == 0
    assert json.loads(seen[2].content) == {"address": "a/b+c@x.test", "note": "[by phone]"}
    assert cli.call(["email", "lift", "a/b+c@x.test", "--although-complained"]) == 0
    assert seen[3].method == "DELETE" and seen[3].url.params["although_complained"] == "true"
    assert seen[3].url.raw_path.split(b"?")[0] == b"/admin/api/email/suppressions/a%2Fb%2Bc%40x.test"
    assert capsys.readouterr().out.splitlines() == [
        "no mail goes to a/b+c@x.test (manual since 2027-01-05T18:00:00)",
        "mails go to a/b+c@x.test again (it was manual since 2027-01-05T18:00:00)",
    ]
