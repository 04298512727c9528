"""The product's `Database` over tables in memory. Each statement and each commit is a place where things go wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import asyncpg
from nurture_chassis.database import COMMAND_SECONDS, Rows, Transaction

from tests.simulation.statements import Statement
from tests.simulation.tables import Blocked, Record, Session, Tables
from tests.simulation.virtual_time import VirtualLoop


class Boundary(Protocol):
    """The place between a process and the world: it may be late, refuse, or be the last thing that a process meets."""

    async def cross(self, what: str) -> None: ...
    async def lose_reply(self, what: str) -> None: ...


class _Names:
    """Queries whose text is their name."""

    def __getitem__(self, name: str) -> str:
        return name


class _Connection:
    """What a product's transaction speaks to."""

    def __init__(self, database: "SimulatedDatabase", session: Session) -> None:
        self._database = database
        self._session = session

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def run(name: str, *args: Any, timeout: float | None = None) -> Any:
            await self._database.boundary.cross(name)
            return _shaped(method, await self._database.statement(self._session, name, args))

        return run


class SimulatedDatabase(Rows):
    """A room's own database, as one process sees it."""

    def __init__(
        self, tables: Tables, schema: str, statements: dict[str, Statement], loop: VirtualLoop, boundary: Boundary
    ) -> None:
        super().__init__(_Names())  # type: ignore[arg-type]
        self.boundary = boundary
        self.open: set[Session] = set()
        self.heard: Callable[[str, Session, Any], None] = lambda name, session, answer: None
        self._tables = tables
        self._schema = schema
        self._statements = statements
        self._loop = loop

    async def statement(self, session: Session, name: str, args: Sequence[Any]) -> Any:
        until = self._loop.time() + COMMAND_SECONDS
        while True:
            try:
                answer = session.run(self._statements[name], self._schema, self._loop.now, args)
            except Blocked as blocked:
                await self._wait(session, blocked.holder, until)
            else:
                self.heard(name, session, answer)
                return answer

    async def _wait(self, session: Session, holder: Session, until: float) -> None:
        session.waits_for = one = holder
        while one is not None:
            if one is session:
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            one = one.waits_for
        try:
            async with asyncio.timeout_at(until):
                await holder.ended()
        finally:
            session.waits_for = None

    async def _run(self, method: str, name: str, args: Sequence[Any], timeout: float | None) -> Any:
        await self.boundary.cross(name)
        with self._session() as session:
            answer = await self.statement(session, name, args)
            session.commit()
        await self.boundary.lose_reply(name)
        return _shaped(method, answer)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        with self._session() as session:
            yield Transaction(_Connection(self, session), self.queries)  # type: ignore[arg-type]
            await self.boundary.cross("commit")
            session.commit()
        await self.boundary.lose_reply("commit")

    def _session(self) -> "_Open":
        return _Open(self, Session(self._tables, self._loop.now))


class _Open:
    """A session that is rolled back, whatever happens, unless it was committed."""

    def __init__(self, database: SimulatedDatabase, session: Session) -> None:
        self._database = database
        self._session = session

    def __enter__(self) -> Session:
        self._database.open.add(self._session)
        return self._session

    def __exit__(self, *_: object) -> None:
        self._session.rollback()
        self._database.open.discard(self._session)


def _shaped(method: str, answer: Any) -> Any:
    if method == "execute":
        return f"DONE {answer if isinstance(answer, int) else len(answer)}"
    rows = [Record(row) for row in answer]
    if method == "fetch":
        return rows
    if not rows:
        return None
    return rows[0] if method == "fetchrow" else next(iter(rows[0]))
