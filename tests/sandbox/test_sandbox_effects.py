"""The ledger as `nurture verify` reads it: the same from the file and over REST, page after page."""

from pathlib import Path

import pytest
from nurture_local.sandbox import ledger_api
from nurture_local.verify import ledger
from sandbox_process import SandboxProcess, mail

DELIVERY = "0198c0de-0000-7000-8000-000000000001"


def test_the_file_and_rest_tell_the_same(sandbox: SandboxProcess) -> None:
    tag = [{"name": "delivery_id", "value": DELIVERY}]
    batch = [mail(f"p{n}@example.com", tags=tag if n == 0 else []) for n in range(100)]
    for _ in range(ledger_api.EFFECTS_PAGE // 100 + 1):
        sandbox.client.post("/emails/batch", json=batch).raise_for_status()
    from_file = ledger.read(Path(sandbox.environment["SANDBOX_DATA"]) / "ledger.sqlite3")
    assert len(from_file) == ledger_api.EFFECTS_PAGE + 100, "one page would hold them all"
    assert str(from_file[0].delivery_id) == DELIVERY
    assert ledger.read(sandbox.url) == from_file


def test_a_sandbox_that_is_not_there_is_told() -> None:
    with pytest.raises(ledger.NoLedger, match=r"127\.0\.0\.1:9 does not tell its ledger"):
        ledger.read("http://127.0.0.1:9")
