"""PostgreSQL in worker threads: connections, their settings, and what its errors mean for us."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import anyio
import psycopg
import structlog
from anyio import CancelScope, CapacityLimiter, to_thread
from psycopg.abc import Buffer
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumper
from sqlalchemy import Connection, Engine, create_engine, event, func, select, text, union_all
from sqlalchemy.exc import DBAPIError

from forwarder.errors import AccessError, ForwarderError, StoreError, TransientError
from forwarder.model import Room
from forwarder.secret import Secret
from forwarder.span import many
from forwarder.store import schema
from forwarder.store.database import News
from forwarder.store.schema import EVENTS
from forwarder.store.transactions.events import count_and_rate
from forwarder.store.transactions.leases import shares

T = TypeVar("T")

CHANNEL: Final = "soteri_forwarder"
READERS: Final = 4
WRITERS: Final = 3
"""Appends wait for one another anyway; sinks settle beside them."""
_TRIES: Final = 4
_PAUSE: Final = 1.0  # seconds between two tries to open it
_SLOW: Final = 30  # seconds for one statement: no step of ours takes one
# Of libpq, where the URL says nothing else: a server that is gone without a word is noticed within
# ten seconds. https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_DEFAULTS: Final = {
    "application_name": "soteri-forwarder",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_AGAIN: Final = frozenset({"40001", "40P01", "23505"})
"""Another transaction was in the way, and has ended: the same at once works."""
_BUSY: Final = frozenset({"55P03", "57014"})
_STANDBY: Final = "25006"
_AWAY: Final = frozenset({"25P03", "53300", "57P01", "57P02", "57P03", "57P05"})
_ROW: Final = 300
"""Bytes that an event takes beside its body: columns, row header, and its part of two indexes."""
_MIGRATION: Final = 0x50_7E_21  # any number, the same in every replica

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Server:
    """Where the database is. `url` is libpq's, without a password; `lease` is in seconds."""

    url: str
    password: Secret | None
    lease: float

    @property
    def name(self) -> str:
        """User, host and database, for messages."""
        parts = urlsplit(self.url)
        return f"{parts.netloc}{parts.path}" or self.url

    def settings(self) -> dict[str, Any]:
        """Return what `psycopg.connect` is given; the password is read afresh.

        Raises:
            psycopg.Error: the URL or the password file cannot be used.
        """
        given = conninfo_to_dict(self.url)
        settings: dict[str, Any] = _DEFAULTS | given
        if "," in str(given.get("host", "")):  # of several, the one that can be written
            settings.setdefault("target_session_attrs", "read-write")
        if self.password:
            try:
                settings["password"] = self.password.reveal()
            except AccessError as error:
                raise psycopg.OperationalError(str(error)) from error
        return settings


class PostgresDatabase:
    """A pool of connections to one database; several replicas have one each."""

    def __init__(
        self,
        server: Server,
        *,
        writable: bool,
        readers: int = READERS,
        writers: int = WRITERS,
        when_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.server = server
        self._when_lost = when_lost
        self._writable = writable
        self._engine = _engine(server, readers + writers)
        self._writer = CapacityLimiter(writers)
        self._readers = CapacityLimiter(max(readers, 1))

    async def write(self, do: Callable[[Connection], T]) -> T:
        """Return what `do` returns, once all that it changed is durable."""
        if not self._writable:
            raise StoreError(f"the store {self.server.name} is open for reading only")
        return await to_thread.run_sync(self._try, self._write, do, limiter=self._writer)

    async def read(self, do: Callable[[Connection], T]) -> T:
        """Return what `do` returns: all that it reads is of one moment. Raises as `write` does."""
        return await to_thread.run_sync(self._try, self._read, do, limiter=self._readers)

    def _write(self, do: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            result = do(connection)
            try:
                connection.commit()
            except DBAPIError as error:
                if error.connection_invalidated:
                    self._when_lost()
                # It may be stored: whether to do it again is the caller's to say.
                raise self._named(error) from error
            return result

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Hand out a transaction for this thread, rolled back unless it is committed."""
        try:
            with self._engine.connect() as connection:
                yield connection.execution_options(isolation_level="REPEATABLE READ")
        except (DBAPIError, psycopg.Error) as error:
            raise self._named(error) from error

    def _read(self, do: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return do(
                connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            )

    def _try(
        self, act: Callable[[Callable[[Connection], T]], T], do: Callable[[Connection], T]
    ) -> T:
        tried = 1
        while True:
            try:
                return act(do)
            except DBAPIError as error:
                # A connection that was lost while nobody used it shows only now.
                lost = error.connection_invalidated and tried == 1
                if error.connection_invalidated:
                    self._when_lost()
                if tried == _TRIES or not (lost or _state(error) in _AGAIN):
                    raise self._named(error) from error
            except psycopg.Error as error:
                raise self._named(error) from error
            tried += 1

    def _named(self, error: Exception) -> ForwarderError:
        state = _state(error)
        cause = str(getattr(error, "orig", error)).strip()
        name = self.server.name
        if state == _STANDBY:  # the server that could be written is another now
            self._engine.dispose()
            return TransientError(
                f"the store {name} takes no writes: {cause}",
                remedy="name every host in [store] url; of several the one that takes writes is"
                " chosen",
            )
        is_lost = getattr(error, "connection_invalidated", False)
        is_away = not state and isinstance(getattr(error, "orig", error), psycopg.OperationalError)
        if is_lost or is_away or state in _AWAY or state.startswith("08"):
            return TransientError(
                f"the store {name} cannot be reached: {cause}",
                remedy="see that PostgreSQL runs there and lets us in",
            )
        if state in _AGAIN or state in _BUSY:
            return TransientError(
                f"the store {name} is busy: {cause}", remedy="see what else works on its tables"
            )
        if state[:2] in {"53", "58"}:
            return TransientError(
                f"the store {name} has no room: {cause}", remedy="look at the server and its disk"
            )
        return StoreError(f"the store {name} cannot be used: {cause}", remedy=_remedy(state))

    def announce(self, connection: Connection, news: News) -> None:
        """Have every replica look for `news` once the transaction is stored."""
        connection.execute(select(func.pg_notify(CHANNEL, news)))

    def stamp(self) -> object:
        """Return what equals nothing: only the server knows."""
        return object()

    async def size(self) -> int:
        """Return the bytes that our tables and their indexes take."""
        return await self.read(_size)

    async def room(self, capacity: int | None) -> Room:
        """Return what is in use, and `capacity`: how much its disk has, no server says."""
        return Room(await self.read(_size if capacity is None else _in_use), capacity)

    async def give_back(self) -> None:
        """Do nothing: PostgreSQL's own autovacuum does."""

    async def close(self) -> None:
        """Close every connection, even when cancelled."""
        with CancelScope(shield=True):
            await to_thread.run_sync(self._engine.dispose)


@asynccontextmanager
async def opened(
    server: Server,
    *,
    writable: bool,
    make: bool,
    patience: float = 0.0,
    when_lost: Callable[[], None] = lambda: None,
) -> AsyncIterator[PostgresDatabase]:
    """Open the database: made or brought up to date with `make`, else as it is.

    A server that cannot be reached is tried for `patience` seconds. `when_lost` is called, in some
    thread, whenever a connection breaks.

    Raises:
        StoreError: it cannot be used, whatever the reason: nothing can start without it.
    """
    database = PostgresDatabase(server, writable=writable, when_lost=when_lost)
    try:
        await begin(database, make=make, patience=patience)
        yield database
    finally:
        await database.close()


async def probe(server: Server) -> str:
    """Try the server without making or changing anything; return one line about it.

    Raises:
        StoreError: it cannot be used.
    """
    database = PostgresDatabase(server, writable=False, readers=1, writers=0)
    try:
        return f"{server.name}, {await database.read(_found)}"
    except TransientError as error:
        raise StoreError(str(error), remedy=error.remedy) from error
    finally:
        await database.close()


def _found(connection: Connection) -> str:
    found = schema.version(connection)
    schema.refuse_newer(found, len(schema.STEPS))
    if not found:
        return "whose tables will be made by the first run"
    size = f"{_size(connection) / 1e6:.1f} MB"
    if found < len(schema.STEPS):
        return f"{size}, will be brought up to date by the next run"
    count = len(shares(connection).replicas)
    return f"{size}, {many(count, 'replica')} running"


async def begin(database: PostgresDatabase, *, make: bool, patience: float = 0.0) -> None:
    """Have the tables there and up to date; see `opened`."""
    until = anyio.current_time() + patience
    while True:
        try:
            if make:
                await database.write(_make)
            else:
                await database.read(schema.must_be_current)
        except TransientError as error:
            if anyio.current_time() > until:
                raise StoreError(str(error), remedy=error.remedy) from error
            log.warning("store.awaited", error=str(error), remedy=error.remedy)
            await anyio.sleep(_PAUSE)
        except StoreError as error:
            if database.server.name in str(error):
                raise
            text_ = f"the store {database.server.name} is {error}"
            raise StoreError(text_, remedy=error.remedy) from error
        else:
            return


def _make(connection: Connection) -> None:
    """Bring the tables up to date; of several replicas that start together one does it."""
    encoding = connection.exec_driver_sql("show server_encoding").scalar_one()
    if encoding != "UTF8":
        raise StoreError(
            f"in {encoding}: not every event can be kept",
            remedy="make a database with encoding UTF8 (createdb --encoding UTF8 --template"
            " template0)",
        )
    connection.exec_driver_sql("set local statement_timeout = 0; set local lock_timeout = 0")
    connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION)))
    schema.migrate(connection)


def _engine(server: Server, connections: int) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(**server.settings()),
        paramstyle="format",  # rows are given as tuples, as SQLite takes them
        pool_size=connections,
        pool_use_lifo=True,
        max_overflow=0,
    )
    # A replica that is stopped in the middle of a transaction must not keep the others from their
    # work for longer than its leases hold.
    idle = max(round(server.lease * 500), 500)

    @event.listens_for(engine, "connect")
    def set_up(connection: psycopg.Connection, _record: Any) -> None:  # noqa: ANN401  the pool's own
        connection.adapters.register_dumper(str, _WithoutNul)
        connection.autocommit = True
        connection.execute(
            f"set statement_timeout = '{_SLOW}s'; set lock_timeout = '{_SLOW}s';"
            f" set idle_in_transaction_session_timeout = {idle}"
        )
        connection.autocommit = False

    return engine


class _WithoutNul(StrDumper):
    """Text as PostgreSQL takes it: it has no NUL, which SQLite keeps.

    Only what a destination says of itself could hold one; events are bytes.
    """

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))


_SIZE: Final = text(
    "select sum(pg_total_relation_size(to_regclass(name))) from unnest(cast(:names as text[])) name"
)


def _size(connection: Connection) -> int:
    return int(connection.execute(_SIZE, {"names": list(schema.TABLES.tables)}).scalar_one())


_BODIES: Final = union_all(
    *(
        select(func.pg_column_size(EVENTS.c.body).label("bytes"))
        .order_by(order)
        .limit(100)
        .subquery()
        .select()
        for order in (EVENTS.c.place, EVENTS.c.place.desc())
    )
).subquery()


def _in_use(connection: Connection) -> int:
    """Return what the stored events take, or all tables where that is less.

    Rows that are deleted leave room that only later rows use: the tables do not shrink.
    """
    events, _ = count_and_rate(connection, 0)
    body = connection.execute(select(func.avg(_BODIES.c.bytes))).scalar() or 0
    return min(round(events * (_ROW + float(body))), _size(connection))


def _state(error: Exception) -> str:
    """Return the SQLSTATE, or nothing where the server has not said anything."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def _remedy(state: str) -> str:
    if state == "42501":
        return (
            "the user must be allowed to make and use tables: give it a database of its own"
            " (createdb --owner), or a schema"
        )
    return "look at the server's log; the forwarder can be started again at any time"
