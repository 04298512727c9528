"""watch: what it shows, and when it ends."""

from collections.abc import Callable

import httpx
import pytest
from nurture_local import cli
from nurture_local.commands import watch

Handler = Callable[[httpx.Request], httpx.Response]
pytestmark = pytest.mark.usefixtures("nowhere")


def test_watch_ends_when_settled(
    served: Callable[[Handler], list[httpx.Request]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watch, "_CALM", 0.0)
    counts = iter([{}, {"pending": 2}, {"sent": 1, "opened": 1}, {"delivered": 1, "opened": 1}])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("summary"):
            return httpx.Response(200, json=next(counts))
        assert request.url.path == "/admin/api/metrics"
        return httpx.Response(200, json={"active": 1_234})

    served(answer)
    assert cli.call(["watch", "--until-settled", "--every", "0"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "no deliveries yet  active enrolments 1234",
        "pending 2  active enrolments 1234",
        "sent 1  opened 1  active enrolments 1234",
        "delivered 1  opened 1  active enrolments 1234",
        "settled",
    ]


def test_watch_gives_up(served: Callable[[Handler], list[httpx.Request]]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"pending": 1} if "summary" in str(request.url) else {"active": 0})

    served(answer)
    assert cli.call(["watch", "--until-settled", "--every", "0", "--timeout", "0"]) == 1
    assert cli.call(["watch", "--timeout", "0"]) == 0


def test_settled() -> None:
    assert not watch.settled({}, 60)
    assert not watch.settled({"delivered": 5, "pending": 1}, 60)
    assert watch.settled({"delivered": 5, "pending": 0, "unknown": 1}, 3)
    assert not watch.settled({"delivered": 5, "unknown": 1}, 2)


def test_what_was_sent_and_is_not_reported_on_is_waited_for_and_then_let_be() -> None:
    assert not watch.settled({"sent": 5, "opened": 1}, 10)
    assert watch.settled({"sent": 5, "opened": 1}, 15)
