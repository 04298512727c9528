"""variants: what it asks, and what it says."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from nurture_local import cli

Served = Callable[[Callable[[httpx.Request], httpx.Response]], list[httpx.Request]]
pytestmark = pytest.mark.usefixtures("nowhere")

ARM: dict[str, Any] = {
    "weight": 1, "share": 0.5, "people": 10_050, "delivered": 10_001, "conversions": 814, "rate": 0.081, "low": 0.0758,
    "high": 0.0865, "complaints": 1, "unsubscribes": 12,
}  # fmt: skip
NOBODY = dict.fromkeys(("people", "delivered", "conversions", "complaints", "unsubscribes"), 0) | dict.fromkeys(
    ("rate", "low", "high")
)
TOLD: dict[str, Any] = {
    "sequence_type": "letter",
    "version": 3,
    "steps": [
        {
            "sequence_type": "letter", "step": 1, "name": "ask", "versions": [2, 3], "evidence": 1234.5, "verdict": "differs",
            "best": "[b]", "shares_ok": True, "leaving_ok": True, "words": "[b] does better: 8.1 % against 6.0 %.",
            "arms": [ARM | NOBODY | {"name": "a"}, ARM | {"name": "[b]"}],
        }
    ],
}  # fmt: skip


def test_a_step_is_told_in_a_sentence_and_its_counts(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    seen = served(lambda _: httpx.Response(200, json=TOLD))
    assert cli.call(["variants", "letter", "--version", "3"]) == 0
    assert seen[0].url.path == "/admin/api/nurture/analytics/variants"
    assert dict(seen[0].url.params) == {"sequence_type": "letter", "version": "3"}
    head, names, nobody, best, words, evidence = capsys.readouterr().out.strip().split("\n")
    assert head == "letter step 1 ask (versions 2, 3): differs"
    assert names.split()[:5] == ["VARIANT", "SHARE", "PEOPLE", "DELIVERED", "RESPONDED"]
    assert nobody.split() == ["a", "50%", "0", "0", "0", "–", "–", "0", "0"]
    assert best.split() == ["[b]", "50%", "10,050", "10,001", "814", "8.1%", "7.6%", "to", "8.6%", "1", "12"]
    assert (words, evidence) == (TOLD["steps"][0]["words"], "evidence 1,234; a difference is called from 20 on")


def test_json_is_what_the_gateway_said(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served(lambda _: httpx.Response(200, json=TOLD))
    assert cli.call(["variants", "letter", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == TOLD


def test_without_variants_it_says_so(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served(lambda _: httpx.Response(200, json=TOLD | {"steps": []}))
    assert cli.call(["variants", "letter"]) == 0
    assert capsys.readouterr().out == "No step of letter version 3 has variants.\n"
