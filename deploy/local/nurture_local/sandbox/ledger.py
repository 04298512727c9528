"""The ledger: every effect of the sandbox in one SQLite file, written by one thread, committed before any reply."""

import asyncio
import fcntl
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import IO, TypeVar
from uuid import uuid4

import msgspec
from msgspec import Struct
from nurture_chassis.clock import Clock

from nurture_local.sandbox.behaviour import Deed, deeds, over_smtp
from nurture_local.sandbox.validation import Mail

IDEMPOTENCY_SECONDS = 24 * 3600.0
_KEEP = "insert into messages values (?,?,'email',?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
T = TypeVar("T")


class LedgerBusy(Exception):
    """Another sandbox process has this ledger open."""


class Remembered(Struct, frozen=True):
    """The answer given to an earlier request under an Idempotency-Key."""

    request_sha256: str
    response: bytes


class Due(Struct, frozen=True):
    """An event to carry out now, with what its webhook or visit needs. `html` comes with visits only."""

    seq: int
    webhook_id: str
    kind: str
    via: str
    link: str | None
    at: str
    happens_at: float
    attempts: int
    email_id: str
    created_at: str
    sender: str
    subject: str
    envelope: str
    headers: str
    tags: str
    html: str | None


class Attempt(Struct, frozen=True):
    """How one try at an event ended. Without `again_in` (real seconds) the event is done."""

    seq: int
    outcome: str
    again_in: float | None = None


class Ledger:
    """One writing and one reading thread over a WAL file: readers never wait for a writer."""

    def __init__(self, path: Path, clock: Clock, reading_seconds: float) -> None:
        self._path = path
        self._clock = clock
        self._reading_seconds = reading_seconds
        self._writer = ThreadPoolExecutor(1, "ledger-write")
        self._reader = ThreadPoolExecutor(1, "ledger-read")
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Create or reopen the file. Raises LedgerBusy when another process has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise LedgerBusy(
                f"{self._path} is in use by another sandbox; stop it, or set SANDBOX_DATA to another directory"
            ) from None
        here = Path(__file__).parent
        schema = "".join((here / name).read_text(encoding="utf-8") for name in ("schema.sql", "telegram/tables.sql"))
        self._write_connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        # NORMAL loses nothing when a process dies; only a power cut may take the last commits, and with them no mail.
        self._write_connection.executescript(
            "pragma page_size = 16384; pragma journal_mode = wal; pragma synchronous = normal; pragma cache_size = -65536;"
        )
        self._write_connection.executescript(schema)
        self._read_connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        self._read_connection.execute("pragma query_only = on")
        self._read_connection.row_factory = sqlite3.Row

    def close(self) -> None:
        """Finish what is being written, then close."""
        self._writer.shutdown()
        self._reader.shutdown()
        self._write_connection.close()
        self._read_connection.close()
        if self._lock:
            self._lock.close()

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` on the reading thread."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, query, self._read_connection)

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run `change` on the writing thread as one transaction; what it raises rolls it back."""

        def transaction() -> T:
            self._write_connection.execute("begin immediate")
            try:
                result = change(self._write_connection)
            except BaseException:
                self._write_connection.execute("rollback")
                raise
            self._write_connection.execute("commit")
            return result

        return await asyncio.get_running_loop().run_in_executor(self._writer, transaction)

    def business_time(self, in_seconds: float = 0.0) -> str:
        """Business time `in_seconds` real seconds from now, RFC 3339."""
        moment = self._clock.now() + timedelta(seconds=in_seconds * self._clock.speed)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    async def remembered(self, key: str) -> Remembered | None:
        """The answer given under `key` in the last 24 real hours."""
        since = time.time() - IDEMPOTENCY_SECONDS

        def query(connection: sqlite3.Connection) -> Remembered | None:
            row = connection.execute(
                "select request_sha256, response from idempotency where key = ? and created_at > ?", (key, since)
            ).fetchone()
            return Remembered(row[0], row[1]) if row else None

        return await self.read(query)

    async def accept(
        self, mails: Sequence[Mail], key: str | None, request_sha256: str, answer: Callable[[list[str]], bytes]
    ) -> bytes:
        """Record all mails, what will happen to them, and the answer under its key: one transaction."""
        real = time.time()
        ids = [str(uuid4()) for _ in mails]
        response = answer(ids)
        at = self.business_time()

        def change(connection: sqlite3.Connection) -> bytes:
            (last,) = connection.execute("select coalesce(max(seq), 0) from messages").fetchone()
            connection.executemany(
                _KEEP,
                [
                    _message_row(last + n, email_id, mail, key, at, real)
                    for n, (email_id, mail) in enumerate(zip(ids, mails, strict=True), 1)
                ],
            )
            insert_events(
                connection,
                [
                    self.event_row(last + n, deed, real)
                    for n, mail in enumerate(mails, 1)
                    for deed in deeds(mail.addresses[0], self._reading_seconds)
                ],
            )
            if key is not None:
                connection.execute(
                    "insert or replace into idempotency values (?,?,?,?)", (key, request_sha256, response, real)
                )
                connection.execute("delete from idempotency where created_at <= ?", (real - IDEMPOTENCY_SECONDS,))
            return response

        return await self.write(change)

    async def take(self, mail: Mail, message_id: str) -> None:
        """Record a mail that came over SMTP: named by its Message-ID, and one that came again apart from the first."""
        real, at = time.time(), self.business_time()

        def change(connection: sqlite3.Connection) -> None:
            (last,) = connection.execute("select coalesce(max(seq), 0) from messages").fetchone()
            known = connection.execute("select 1 from messages where id = ?", (message_id,)).fetchone()
            name = f"{message_id}~{uuid4().hex}" if known else message_id
            connection.execute(_KEEP, _message_row(last + 1, name, mail, None, at, real))
            planned = over_smtp(mail.addresses[0], self._reading_seconds)
            insert_events(connection, [self.event_row(last + 1, deed, real) for deed in planned])

        await self.write(change)

    async def play(self, message_seq: int, deed: Deed) -> int:
        """Plan one more thing to happen to a message; the event's number."""
        row = self.event_row(message_seq, deed, time.time())

        def change(connection: sqlite3.Connection) -> int:
            insert_events(connection, [row])
            return connection.execute("select last_insert_rowid()").fetchone()[0]

        return await self.write(change)

    def event_row(self, message_seq: int, deed: Deed, real: float) -> tuple[object, ...]:
        """What `insert_events` takes for a deed; `real` is when the message was accepted, in Unix seconds."""
        happens_at = real + deed.after
        at = self.business_time(deed.after)
        done_at = real if deed.via == "mailbox" else None
        return (f"msg_{uuid4().hex}", message_seq, deed.kind, deed.via, deed.link, at, happens_at, happens_at, done_at)

    async def due(self, limit: int, *, webhooks: bool) -> list[Due]:
        """Events whose time has come, oldest first; `webhooks` says whether those are wanted too."""
        wanted = ("visit", "chat", "webhook" if webhooks else "visit")

        def query(connection: sqlite3.Connection) -> list[Due]:
            rows = connection.execute(
                "select e.seq, e.webhook_id, e.kind, e.via, e.link, e.at, e.happens_at, e.attempts, m.id, m.at, m.sender, "
                "m.subject, m.envelope, m.headers, m.tags, case when e.via = 'visit' then m.html end "
                "from events e join messages m on m.seq = e.message_seq "
                "where e.done_at is null and e.due_at <= ? and e.via in (?, ?, ?) order by e.due_at limit ?",
                (time.time(), *wanted, limit),
            )
            return [Due(*row) for row in rows]

        return await self.read(query)

    async def next_due(self) -> float | None:
        """Real epoch second at which the next event is due."""
        return await self.read(
            lambda connection: connection.execute("select min(due_at) from events where done_at is null").fetchone()[0]
        )

    async def record(self, attempts: Sequence[Attempt]) -> None:
        """Write how tries ended: one transaction."""
        real = time.time()
        rows = [
            (real if attempt.again_in is None else None, real + (attempt.again_in or 0.0), attempt.outcome, attempt.seq)
            for attempt in attempts
        ]
        await self.write(
            lambda connection: connection.executemany(
                "update events set attempts = attempts + 1, done_at = ?, due_at = ?, outcome = ? where seq = ?", rows
            )
        )


def insert_events(connection: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    """Plan what `event_row` gave."""
    connection.executemany(
        "insert into events (webhook_id, message_seq, kind, via, link, at, happens_at, due_at, done_at) "
        "values (?,?,?,?,?,?,?,?,?)",
        rows,
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _message_row(seq: int, email_id: str, mail: Mail, key: str | None, at: str, real: float) -> tuple[object, ...]:
    return (
        seq,
        email_id,
        at,
        real,
        ", ".join(mail.addresses),
        mail.sender,
        mail.subject,
        mail.tag("delivery_id"),
        key,
        sha256(msgspec.json.encode(mail)).hexdigest(),
        _json({"to": mail.to, "cc": mail.cc, "bcc": mail.bcc, "reply_to": mail.reply_to}),
        _json(mail.headers),
        _json(mail.tags),
        _json(mail.attachments),
        mail.text,
        mail.html,
    )
