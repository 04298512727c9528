"""Runs docs/seed.md against a running instance: `python -m tests.journeys.seed_walk [DATA_DIR]` prints a row each."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import asyncpg
import httpx

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/seed.md"
BIN = Path(sys.executable).parent
_WIDTH = 110


class Row(NamedTuple):
    """A line of the page. `run` is the command or statement in it, if any; `files` are what it links to."""

    section: str
    seed: str
    run: str
    files: list[str]


class Walked(NamedTuple):
    """What became of a row: the answer, or what is wrong."""

    row: Row
    works: bool
    answer: str

    def __str__(self) -> str:
        mark, text = ("works" if self.works else "FAILS"), " ".join(self.answer.split())
        return f"{mark}  {self.row.section}: {self.row.seed[:60]:<60}  {text[:_WIDTH]}"


def rows(page: str) -> Iterator[Row]:
    """Every row of every table, without their heads."""
    section = ""
    for line in page.splitlines():
        if line.startswith("## "):
            section = line[3:]
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) != 3 or cells[0] in ("seed", "---") or set(cells[0]) == {"-"}:
            continue
        found = re.search(r"`((?:\$|sql>) [^`]+)`", cells[1])
        yield Row(section, cells[0], found.group(1) if found else "", re.findall(r"\]\(([^)]+)\)", cells[2]))


def prepare(data_dir: Path) -> dict[str, str]:
    """What the rows need: an instance, and somebody to speak of. Raises when nothing runs there."""
    told = subprocess.run(
        [BIN / "nurture", "status", "-o", "json", "--data-dir", str(data_dir)], text=True, capture_output=True,
        check=True, timeout=60,
    )  # fmt: skip
    status = json.loads(told.stdout)
    auth = f"Authorization: Bearer {status['api_key']}"
    who = f"seed-{uuid4().hex[:12]}"
    made = httpx.post(
        f"{status['gateway']}/admin/api/users", headers=dict([auth.split(": ")]), timeout=30,
        json={"external_id": who, "first_name": "Ada", "email": f"{who}+ignore@example.test"},
    ).raise_for_status()  # fmt: skip
    return {
        "GATEWAY": status["gateway"], "AUTH": auth, "USER_ID": made.json()["id"], "DATABASE": status["database"],
        "NURTURE_DATA_DIR": str(data_dir), "TMP": tempfile.mkdtemp(prefix="nurture-seed-"),
    }  # fmt: skip


def walk(row: Row, told: dict[str, str]) -> Walked:
    """Run one row, and look whether what it links to is there."""
    missing = [file for file in row.files if not (PAGE.parent / file).exists()]
    if missing:
        return Walked(row, False, f"not there: {', '.join(missing)}")
    kind, _, run = row.run.partition(" ")
    if kind == "sql>":
        return _statement(row, run.replace("$USER_ID", told["USER_ID"]), told["DATABASE"])
    if kind == "$":
        return _command(row, run.replace("$USER_ID", told["USER_ID"]), told)
    return Walked(row, True, f"{len(row.files)} places are there")


def _command(row: Row, run: str, told: dict[str, str]) -> Walked:
    environment = {**os.environ, **told, "PATH": f"{os.environ['PATH']}:{BIN}"}
    done = subprocess.run(
        ["bash", "-c", run], text=True, capture_output=True, cwd=ROOT, env=environment, timeout=180, check=False
    )
    said = done.stdout.strip() if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr or done.stdout}"
    return Walked(row, done.returncode == 0 and bool(said), said)


def _statement(row: Row, run: str, database: str) -> Walked:
    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(database)
        try:
            return await connection.fetch(run)
        finally:
            await connection.close()

    try:
        found = asyncio.run(ask())
    except asyncpg.PostgresError as error:
        return Walked(row, False, str(error))
    return Walked(row, True, f"{len(found)} rows; {dict(found[0]) if found else ''}")


def main() -> int:
    """Walk the whole page."""
    data_dir = Path(sys.argv[1] if len(sys.argv) > 1 else ".nurture").resolve()
    told, failed = prepare(data_dir), 0
    for row in rows(PAGE.read_text()):
        walked = walk(row, told)
        failed += not walked.works
        print(walked, flush=True)
    print(f"{failed} rows fail")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
