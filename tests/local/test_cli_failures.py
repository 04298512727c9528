"""The command line: what it says when something is not there or does not go."""

from collections.abc import Callable

import httpx
import pytest
from nurture_local import cli

Handler = Callable[[httpx.Request], httpx.Response]

pytestmark = pytest.mark.usefixtures("nowhere")


def test_a_person_that_there_is_not_is_told_once(
    served: Callable[[Handler], list[httpx.Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {
        "title": "Unknown person",
        "detail": "There is no person 'ada'.",
        "hint": "Name them otherwise.",
        "errors": [{"field": "user_id", "reason": "there is no person 'ada'"}],
    }
    served(lambda _: httpx.Response(404, json=problem))
    assert cli.call(["why", "ada"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "✗ 404 Unknown person",
        "  There is no person 'ada'.",
        "  hint: Name them otherwise.",
    ]


def test_a_test_mail_says_why_it_does_not_leave(
    served: Callable[[Handler], list[httpx.Request]], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {"id": "1", "status": "failed", "failure_reason": "domain_not_verified", "status_url": "/there"}
    parked = {"park_reason": "the key is refused"}
    served(lambda request: httpx.Response(200, json=parked if request.url.path.endswith("queue") else shown))
    assert cli.call(["email", "test", "ada@example.org"]) == 1
    assert capsys.readouterr().err == "✗ the test mail failed: domain_not_verified\n"
    shown["status"] = "queued"
    assert cli.call(["email", "test", "ada@example.org", "--timeout", "0"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[1:] == ["  email sends nothing at the moment: the key is refused", "  see /there"]


@pytest.mark.parametrize("line", ["simulate no.toml", "sequences lint no.toml", "people import no.csv"])
def test_a_file_that_there_is_not_is_told_in_words(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(line.split()) == 1
    assert capsys.readouterr().err == f"✗ cannot read {line.split()[-1]}: No such file or directory\n"
