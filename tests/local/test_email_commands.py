"""email report: a mail that came back goes to the gateway as it is."""

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
