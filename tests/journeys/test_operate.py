"""docs/operate.md: each command is run as it stands there, and the drill is a real loss under load."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest
from nurture_local.instance import DataDir

from tests.journeys.system import NURTURE, System, eventually

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operate.md").read_text()
NATS = f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m tests.journeys.nats_command "$@"\n'
WAVE = 60


class Block(NamedTuple):
    """A fenced block: the section it stands in, the mark before it if there is one, its language and lines."""

    section: str
    mark: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    section = ""
    for found in re.finditer(
        r"^#{2,3} (?P<section>[^\n]+)$|^(?:<!-- (?P<mark>[\w:]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```",
        PAGE,
        re.MULTILINE | re.DOTALL,
    ):
        section = found["section"] or section
        if found["language"]:
            yield Block(section, found["mark"] or "", found["language"], found["text"])


def marked(mark: str) -> str:
    (block,) = [block for block in blocks() if block.mark == mark]
    return block.text


def run(script: str, system: System, folder: Path, programs: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*([str(programs)] if programs else []), system.env["PATH"]])
    return subprocess.run(
        ["bash", "-ec", script.replace(".venv/bin/nurture", NURTURE)], cwd=folder, text=True, capture_output=True, timeout=100,
        env={**system.environment, "PATH": path}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The real `nats` where there is one, else what sends the same requests."""
    if shutil.which("nats"):
        return None
    folder = tmp_path_factory.mktemp("programs")
    (folder / "nats").write_text(NATS)
    (folder / "nats").chmod(0o755)
    return folder


ORDINARY = [block for block in blocks() if block.language == "console" and not block.mark]
STATEMENTS = [block for block in blocks() if block.language == "sql"]


@pytest.mark.processes("the page's commands are for an instance of this machine")
@pytest.mark.parametrize("block", ORDINARY, ids=lambda block: block.section.lower().replace(" ", "-"))
def test_the_commands_work_as_written(block: Block, system: System, tmp_path: Path, programs: Path | None) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    if "start_sequences" in block.text:  # that one was said lately
        system.answer({"user_id": system.person("op", email="op@example.test"), "sequence_type": "onboarding"})
    done = run(block.text, system, tmp_path, programs)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    if block.section == "Look first" and "verify all" in block.text:
        assert "✓ C1" in done.stdout and "✗" not in done.stdout


@pytest.mark.parametrize("block", STATEMENTS, ids=lambda block: block.section.lower().replace(" ", "-"))
def test_the_statements_work_as_written(block: Block, system: System) -> None:
    async def ask() -> None:
        connection = await asyncpg.connect(system.database)
        try:
            for statement in filter(str.strip, block.text.split(";")):
                await connection.fetch(statement)
        finally:
            await connection.close()

    asyncio.run(ask())


@pytest.mark.processes("`nurture service` starts processes")
def test_a_parked_channel_is_tried_at_once_when_it_is_started_again(system: System, tmp_path: Path) -> None:
    """The sandbox refuses the account, the operator mends it, and does what the page says."""
    system.chaos(fail_next=1, status=403, name="invalid_api_key")
    person = system.person("parked", email="parked@example.test")
    system.answer({"user_id": person, "sequence_type": "onboarding"})

    def parked() -> bool:
        return bool(system.rows("select from email_channel where parked_until > now()"))

    eventually(parked, what="the park")
    done = run(marked("parked"), system, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(lambda: system.messages(to="parked@example.test"), what="the mail that waited")
    assert not parked()


def _people(system: System, folder: Path) -> dict[str, list[str]]:
    """Three crowds, a third of each by Telegram; their external ids."""
    waves = {wave: [f"{wave}-{n}" for n in range(WAVE)] for wave in ("sent", "waits", "forgotten")}
    everybody = [one for wave in waves.values() for one in wave]
    lines = [
        f"{one},D,,{610_000_000 + 10 * n},telegram" if n % 3 == 0 else f"{one},D,{one}@example.test,,email"
        for n, one in enumerate(everybody)
    ]
    head = "external_id,first_name,email,telegram_chat_id,preferred_channel\n"
    (folder / "people.csv").write_text(head + "\n".join(lines) + "\n")
    system.cli("people", "import", str(folder / "people.csv"))
    return waves


def _trigger(system: System, people: list[str]) -> None:
    """Several triggers, each of some people, as callers do."""
    for part in range(4):
        asked = {"user_ids": people[part::4], "sequence_type": "onboarding"}
        assert system.trigger(asked).status_code in (200, 202)


@pytest.mark.timeout(300)
@pytest.mark.long
def test_the_drill_as_written_a_lost_database_under_load_sends_nothing_twice(data_dir: Path, tmp_path: Path) -> None:
    system = System(data_dir).up()
    try:
        waves = _people(system, tmp_path)
        _trigger(system, waves["sent"])
        system.quiet(len(waves["sent"]))
        # In the backup these are planned and wait; it is made while more is asked for.
        for channel in ("email", "telegram"):
            system.service("stop", channel)
        _trigger(system, waves["waits"])
        eventually(lambda: system.counts().get("pending") == len(waves["waits"]), what="messages that wait")
        before = run(marked("drill:before"), system, tmp_path)
        assert before.returncode == 0 and " rows in " in before.stdout, before.stdout + before.stderr
        for channel in ("email", "telegram"):
            system.service("start", channel)
        system.quiet(len(waves["sent"]) + len(waves["waits"]))
        system.chaos(latency_ms=200)
        _trigger(system, waves["forgotten"])
        at_least = len(waves["sent"]) + len(waves["waits"])
        eventually(lambda: system.ledger()["messages"] > at_least, what="messages of people that the backup forgets")

        home = DataDir(data_dir).state().postgres_home
        assert home
        os.kill(system.status()["servers"]["postgres"]["pid"], signal.SIGKILL)
        shutil.rmtree(Path(home) / "data")
        system.api.close()
        system.inbox.close()
        told = ""
        for line in marked("drill:after").splitlines():
            done = run(line, system, tmp_path)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            told += done.stdout
        for words in ("Restored", "sends nothing until you confirm", "restored:", "No consumer is behind.", "cancelled: ",
                      "resumed everything", "✓ C1", "0 of"):  # fmt: skip
            assert words in told, f"{words}\n{told}"
        system._connect()
        reached = Counter(message["to"] for message in system.messages())
        assert set(reached.values()) == {1}, [one for one, count in reached.items() if count > 1]
        assert len(reached) > at_least
        # It lives: whoever is new gets their message.
        fresh = system.person("fresh", email="fresh@example.test")
        assert system.answer({"user_id": fresh, "sequence_type": "onboarding"}).status_code == 201
        eventually(lambda: system.messages(to="fresh@example.test"), what="a message after all of it")
    finally:
        system.down()
