"""PostgreSQL as far as the product leans on it: tables in memory, READ COMMITTED, row locks, SKIP LOCKED, rollback.

A statement is atomic. One that meets a row which another transaction holds waits for that one's end and starts again on what
is committed then. Rows are never changed in place: what was read stays what it was.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Literal

Row = dict[str, Any]
Key = tuple[str, Any]


class Record(dict):
    """A row of an answer: columns by name, and values when it is unpacked."""

    def __iter__(self) -> Any:
        return iter(self.values())


class Blocked(Exception):
    """Another transaction holds what this statement needs."""

    def __init__(self, holder: "Session") -> None:
        self.holder = holder


class UniqueViolation(Exception):
    """Two rows with one key."""


class Tables:
    """What is committed, and who holds which row."""

    def __init__(self) -> None:
        self.committed: dict[str, dict[Any, Row]] = defaultdict(dict)
        self.holders: dict[Key, list[tuple[Session, bool]]] = defaultdict(list)
        self.sessions: set[Session] = set()
        self.watchers: list[Callable[[dict[str, dict[Any, Row | None]]], None]] = []
        """Told of every commit before it is visible: the changed rows by table and key; None is a row that is gone."""

    def rows(self, table: str) -> list[Row]:
        return list(self.committed[table].values())


class Session:
    """A transaction. `now` is its beginning, as in SQL; `moment` the time of the statement under way."""

    def __init__(self, tables: Tables, now: datetime) -> None:
        self.tables = tables
        self.now = self.moment = now
        self.schema = ""
        self._changed: dict[str, dict[Any, Row | None]] = {}
        self._held: set[Key] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self.waits_for: Session | None = None
        tables.sessions.add(self)

    # ── what statements are made of ──────────────────────────────────────────────────────────────────────────────────

    def table(self, name: str) -> str:
        return name if "." in name else f"{self.schema}.{name}"

    def rows(self, name: str) -> list[Row]:
        """All rows, as this statement sees them."""
        table = self.table(name)
        own = self._changed.get(table)
        if not own:
            return list(self.tables.committed[table].values())
        return [row for row in ({**self.tables.committed[table], **own}).values() if row is not None]

    def get(self, name: str, key: Any) -> Row | None:
        table = self.table(name)
        own = self._changed.get(table, {})
        return own[key] if key in own else self.tables.committed[table].get(key)

    def lock(self, name: str, key: Any, mode: Literal["wait", "skip", "share"] = "wait") -> bool:
        """FOR UPDATE, FOR UPDATE SKIP LOCKED (False: it is held) or FOR SHARE."""
        at, share = (self.table(name), key), mode == "share"
        holders = self.tables.holders[at]
        for session, shared in holders:
            if session is not self and not (share and shared):
                if mode == "skip":
                    return False
                raise Blocked(session)
        if (self, share) not in holders:
            holders.append((self, share))
            self._held.add(at)
        return True

    def insert(self, name: str, key: Any, row: Row, *uniques: Callable[[Row], Any]) -> bool:
        """False: a row with that key, or with the same value of one of `uniques` (None is never the same), is there."""
        table = self.table(name)
        for session in self.tables.sessions:
            if session is not self and (theirs := session._changed.get(table)):
                for other, made in theirs.items():
                    new = made is not None and other not in self.tables.committed[table]
                    if new and (other == key or _same(row, made, uniques)):
                        raise Blocked(session)
        if self.get(name, key) is not None or any(_same(row, known, uniques) for known in self.rows(name)):
            return False
        self.lock(name, key)
        self._changed.setdefault(table, {})[key] = row
        return True

    def update(self, name: str, key: Any, **changes: Any) -> Row:
        """The new row. The caller has seen that it is there."""
        self.lock(name, key)
        row = self.get(name, key)
        assert row is not None
        row = self._changed.setdefault(self.table(name), {})[key] = {**row, **changes}
        return row

    def delete(self, name: str, key: Any) -> None:
        self.lock(name, key)
        self._changed.setdefault(self.table(name), {})[key] = None

    # ── the server's part ────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, statement: Callable[..., Any], schema: str, moment: datetime, args: Iterable[Any]) -> Any:
        """One statement, whole or not at all. Raises Blocked."""
        changed = {table: dict(rows) for table, rows in self._changed.items()}
        held = set(self._held)
        self.schema, self.moment = schema, moment
        try:
            return statement(self, *args)
        except BaseException:
            self._changed = changed
            self._release(self._held - held)
            self._held = held
            raise

    def commit(self) -> None:
        if self not in self.tables.sessions:
            return
        changed = {table: rows for table, rows in self._changed.items() if rows}
        if changed:
            for watch in self.tables.watchers:
                watch(changed)
        for table, rows in changed.items():
            committed = self.tables.committed[table]
            for key, row in rows.items():
                if row is None:
                    committed.pop(key, None)
                else:
                    committed[key] = row
        self.rollback()

    def rollback(self) -> None:
        """Also the end of a commit: nobody waits for this session any more."""
        self.tables.sessions.discard(self)
        self._changed = {}
        self._release(self._held)
        self._held = set()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _release(self, keys: Iterable[Key]) -> None:
        for key in keys:
            left = [one for one in self.tables.holders[key] if one[0] is not self]
            if left:
                self.tables.holders[key] = left
            else:
                del self.tables.holders[key]

    async def ended(self) -> None:
        if self in self.tables.sessions:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter


def _same(row: Row, other: Row, uniques: Iterable[Callable[[Row], Any]]) -> bool:
    return any((value := unique(row)) is not None and value == unique(other) for unique in uniques)
