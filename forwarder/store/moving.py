"""A store is moved whole: from a file to PostgreSQL, back, or to another of its kind."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Final

from anyio import to_thread
from sqlalchemy import Connection, Function, Table, delete, func, insert, inspect, select, text

from forwarder.errors import StoreError, StoreLocked, TransientError
from forwarder.store import StoreConfig, schema, sqlite
from forwarder.store.lock import exclusive, lock_file
from forwarder.store.postgresql import PostgresDatabase
from forwarder.store.sqlite import SqliteDatabase
from forwarder.store.transactions.leases import shares

_ROWS: Final = 500  # held at once
_NUMBERED: Final = (schema.DEAD_LETTERS, schema.REPLAYS)
_LEFT: Final = frozenset({schema.SCHEMA.name, schema.LEASES.name, schema.REPLICAS.name})
"""Of the tables' own place: a version, and who runs there."""
_TABLES: Final = tuple(each for each in schema.TABLES.sorted_tables if each.name not in _LEFT)

Progress = Callable[[str, int, int], None]
"""Called with a table's name, how many of its rows are moved, and how many there are."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How many rows of one table were found, and are now in the other store."""

    table: str
    found: int
    moved: int


async def move(
    source: StoreConfig, target: StoreConfig, *, dry_run: bool, progress: Progress
) -> list[Moved]:
    """Copy all that `source` holds into the empty store `target`; return what was counted in both.

    All in one transaction: what is interrupted leaves the target empty. The source stays as it is,
    and no forwarder can begin to run on either meanwhile. With `dry_run` nothing is written.

    Raises:
        StoreLocked: a forwarder runs on one of them.
        StoreError: the source cannot be read, the target is not empty or cannot be written.
    """
    async with _opened(source, make=False) as found:
        if dry_run:
            await _must_be_free(target)
            return await to_thread.run_sync(_counted, found)
        async with _opened(target, make=True) as made:
            moving = _Moving(progress)
            try:
                return await to_thread.run_sync(moving.run, found, made)
            finally:
                moving.end()


Database = SqliteDatabase | PostgresDatabase


@asynccontextmanager
async def _opened(store: StoreConfig, *, make: bool) -> AsyncIterator[Database]:
    if store.is_shared:
        from forwarder.store import postgresql

        # Its tables are made with what comes into them, in one transaction.
        server = store.server()
        database = PostgresDatabase(server, writable=True, readers=1, writers=1)
        try:
            await postgresql.begin(database, make=make)
            yield database
        finally:
            await database.close()
        return
    with ExitStack() as stack:
        path = store.path
        if make:
            path = await to_thread.run_sync(sqlite.make_folder, path)
        stack.enter_context(exclusive(lock_file(path)))
        async with sqlite.opened(path, writable=True, make=make) as file:
            yield file


async def _must_be_free(target: StoreConfig) -> None:
    if not target.is_shared and not target.path.exists():
        return
    database: Database
    if target.is_shared:
        database = PostgresDatabase(target.server(), writable=False, readers=1, writers=0)
    else:
        database = SqliteDatabase(target.path, writable=False)
    try:
        await database.read(_must_be_empty)
    except TransientError as error:
        raise StoreError(str(error), remedy=error.remedy) from error
    finally:
        await database.close()


def _must_be_empty(connection: Connection) -> None:
    schema.version(connection)  # raises where the tables are another program's
    there = inspect(connection).get_table_names()
    ours = (each for each in _TABLES if each.name in there and each is not schema.PLACES)
    if any(_count(connection, each) for each in ours):
        raise StoreError(
            "the store to move to is not empty", remedy="give it a file or a database of its own"
        )


def _counted(database: Database) -> list[Moved]:
    with _connected(database) as connection:
        _alone(connection)
        return [Moved(each.name, _count(connection, each), 0) for each in _TABLES]


class _Moving:
    """A move in a thread: Ctrl-C ends the waiting for it alone, and so must end it too."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._is_ended = False
        self._runs = Lock()

    def end(self) -> None:
        """Return when it has ended; what is not committed by now is rolled back."""
        self._is_ended = True
        with self._runs:
            pass

    def run(self, source: Database, target: Database) -> list[Moved]:
        """Copy all, in one transaction; return what was counted in both."""
        with self._runs, _connected(source) as read, _connected(target) as write:
            _alone(read)
            _alone(write)
            _must_be_empty(write)
            write.execute(delete(schema.PLACES))
            moved = [self._copied(read, write, each) for each in _TABLES]
            for each in moved:
                if each.found != each.moved:
                    raise StoreError(f"{each.found} rows of {each.table} became {each.moved}")
            _number_on(read, write)
            self._must_go_on()
            write.commit()
            return moved

    def _copied(self, read: Connection, write: Connection, table: Table) -> Moved:
        total = _count(read, table)
        done = 0
        for rows in _parts(read, table):
            self._must_go_on()
            write.execute(insert(table), rows)
            done += len(rows)
            self._progress(table.name, done, total)
        return Moved(table.name, total, _count(write, table))

    def _must_go_on(self) -> None:
        if self._is_ended:
            raise StoreError("moving was interrupted: the other store is as it was")


def _parts(read: Connection, table: Table) -> Iterator[list[dict[str, object]]]:
    wanted = select(table).order_by(*table.primary_key)
    found = read.execution_options(stream_results=True, max_row_buffer=_ROWS).execute(wanted)
    rows = iter(found.mappings())
    while part := list(islice(rows, _ROWS)):
        yield [dict(row) for row in part]


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


@contextmanager
def _connected(database: Database) -> Iterator[Connection]:
    """One transaction, however long it takes; what is not committed is rolled back."""
    with database.transaction() as connection:
        if connection.dialect.name == "postgresql":
            for name in ("statement", "lock", "idle_in_transaction_session"):
                connection.execute(text(f"set local {name}_timeout = 0"))
        yield connection


def _alone(connection: Connection) -> None:
    """Keep every forwarder from the store until the transaction ends; a file is locked already."""
    if connection.dialect.name != "postgresql":
        return
    connection.execute(text("lock table replicas, leases in share row exclusive mode"))
    if running := [each.name for each in shares(connection).replicas]:
        raise StoreLocked(
            f"replicas run on the store: {', '.join(running)}", remedy="stop them first"
        )


def _number_on(read: Connection, write: Connection) -> None:
    """Have numbers go on behind the last that was given: receipts name those that are gone too."""
    for table in _NUMBERED:
        last = _last_number(read, table)
        if write.dialect.name == "postgresql":
            write.execute(select(func.setval(_sequence(table), max(last, 1))))
        else:
            # A row is there only where the table has had one; SQLite keeps no key on the name.
            named = {"name": table.name, "last": last}
            write.execute(text("delete from sqlite_sequence where name = :name"), named)
            write.execute(text("insert into sqlite_sequence values (:name, :last)"), named)


def _last_number(connection: Connection, table: Table) -> int:
    """Return the last number that was given to a row, there or gone; 1 at most where none was."""
    if connection.dialect.name == "postgresql":
        sequence = connection.execute(select(_sequence(table))).scalar_one()
        given = select(text("last_value")).select_from(text(sequence))
        return int(connection.execute(given).scalar_one())
    found = text("select seq from sqlite_sequence where name = :name")
    return int(connection.execute(found, {"name": table.name}).scalar() or 0)


def _sequence(table: Table) -> Function[str]:
    return func.pg_get_serial_sequence(table.name, "id")
