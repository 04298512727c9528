"""Starting, stopping, and the limit per second."""

import socket
from pathlib import Path

from sandbox_process import PATIENCE, Receiver, SandboxProcess, mail


def ended(process: SandboxProcess) -> tuple[int, str]:
    code = process.process.wait(PATIENCE)
    log = process.log()
    process.stop()
    return code, log


def test_sigterm_ends_it_cleanly(sandbox: SandboxProcess) -> None:
    sandbox.send()
    assert sandbox.stop() == 0


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, log = ended(SandboxProcess(tmp_path, None, SANDBOX_PORT=str(port)))
    assert code == 1
    assert str(port) in log and "SANDBOX_PORT" in log


def test_one_ledger_has_one_process(tmp_path: Path, sandbox: SandboxProcess) -> None:
    code, log = ended(SandboxProcess(tmp_path / "sandbox", None))
    assert code == 1
    assert "in use by another sandbox" in log


def test_a_webhook_address_needs_a_secret(tmp_path: Path, receiver: Receiver) -> None:
    code, log = ended(SandboxProcess(tmp_path, receiver, RESEND_WEBHOOK_SECRET=""))
    assert code == 2
    assert "RESEND_WEBHOOK_SECRET" in log


def test_requests_over_the_limit_are_refused_and_told_when_to_come_back(start) -> None:
    sandbox: SandboxProcess = start(SANDBOX_RATE_LIMIT="2")
    replies = [sandbox.client.post("/emails", json=mail()) for _ in range(12)]
    taken = [reply for reply in replies if reply.status_code == 200]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert taken and refused
    assert all(reply.headers["ratelimit-limit"] == "2" for reply in replies)
    assert {"ratelimit-remaining", "ratelimit-reset"} <= taken[0].headers.keys()
    assert refused[0].json()["name"] == "rate_limit_exceeded"
    assert int(refused[0].headers["retry-after"]) == 1
    assert sandbox.summary()["messages"] == len(taken)
