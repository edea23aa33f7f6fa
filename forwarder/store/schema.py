"""The tables, and the steps that lead to them from every older version.

SQLite and PostgreSQL have the same; only the names of some column types differ.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
    text,
    update,
)

from forwarder.errors import StoreError

TABLES: Final = MetaData()
"""What the queries are built from; a test holds that `STEPS` lead exactly here."""

SCHEMA = Table("schema_version", TABLES, Column("version", BigInteger, nullable=False))

# One row. `last` is the last place that was given to an event, `forgotten` the last that pruning
# has passed. Places come from here and not from a sequence of the database's: a sequence leaves
# holes (so a backlog could only be counted row by row) and, on PostgreSQL, hands out places that
# become visible in another order, which a reader would skip. This row's lock makes both impossible.
PLACES = Table(
    "places",
    TABLES,
    Column("last", BigInteger, nullable=False),
    Column("forgotten", BigInteger, nullable=False),
)

# Times are epoch milliseconds. `body` is last, so that a large one is not read to get at the rest.
# There is no index on `occurred_at`: ids begin with the time, so the unique index on them is one,
# and new rows go to its end.
EVENTS = Table(
    "events",
    TABLES,
    Column("place", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
    Column("stored_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

CHECKPOINTS = Table(
    "checkpoints",
    TABLES,
    Column("source", Text, primary_key=True),
    Column("checkpoint", Text, nullable=False),
    Column("stored", BigInteger, nullable=False),
    Column("stored_at", BigInteger, nullable=False),
    Column("late", BigInteger, nullable=False),
    Column("late_by", BigInteger, nullable=False),
)

POSITIONS = Table(
    "positions",
    TABLES,
    Column("sink", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("memo", Text, nullable=False),
    Column("settled", BigInteger, nullable=False),
    Column("buried", BigInteger, nullable=False),
    Column("settled_at", BigInteger),
    Column("filtered", BigInteger, nullable=False),
)

# `known_as` is the event's id or the digest of the record's bytes. Ids grow and are not used again.
DEAD_LETTERS = Table(
    "dead_letters",
    TABLES,
    Column("id", BigInteger, primary_key=True),
    Column("source", Text, nullable=False),
    Column("sink", Text, nullable=False),
    Column("known_as", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("first_seen_at", BigInteger, nullable=False),
    Column("last_seen_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("asked_at", BigInteger),
    UniqueConstraint("source", "sink", "known_as"),
)

# Records that were discarded, by their digest: they stay so when they are read again, which was
# last at `seen_at`.
DISCARDED = Table(
    "discarded",
    TABLES,
    Column("source", Text, primary_key=True),
    Column("known_as", Text, primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
)

# What a sink is sent again: events after `after` up to `until` that `wanted` (JSON) names.
REPLAYS = Table(
    "replays",
    TABLES,
    Column("id", BigInteger, primary_key=True),
    Column("sink", Text, nullable=False),
    Column("wanted", Text, nullable=False),
    Column("after", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("oldest_at", BigInteger),
    Column("newest_at", BigInteger),
)

NOTES = Table(
    "notes",
    TABLES,
    Column("part", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("since_at", BigInteger, nullable=False),
)

# The head of each source's chain; the links themselves are in the bodies of the events.
CHAINS = Table(
    "chains",
    TABLES,
    Column("source", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
)

# A day of how each source and sink was, five minutes a row: for charts.
SAMPLES = Table(
    "samples",
    TABLES,
    Column("part", Text, primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("events", BigInteger, nullable=False),
    Column("backlog", BigInteger, nullable=False),
    Column("lag", BigInteger, nullable=False),
)

# One row for each page that brought new events: they have the places `first` to `last`.
PAGES = Table(
    "pages",
    TABLES,
    Column("last", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("window_start", BigInteger),
    Column("window_end", BigInteger),
    Column("records", BigInteger, nullable=False),
    Column("stored_at", BigInteger, nullable=False),
)

# One row for each batch that a sink has settled. `number` is 0 in its turn, the replay's id, or,
# below 0, a dead letter's: with 0 `events` it was discarded.
RECEIPTS = Table(
    "receipts",
    TABLES,
    Column("sink", Text, primary_key=True),
    Column("last", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("filtered", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("settled_at", BigInteger, nullable=False),
    Column("wanted", Text),
)

# Who runs which source and sink where several replicas share a database; unused on SQLite. `token`
# only grows: a write that names an older one comes from a replica that has lost the lease. Times
# are the server's own, so that no replica's clock matters.
LEASES = Table(
    "leases",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# The replicas that run, and the parts (JSON) that each of them is configured for.
REPLICAS = Table(
    "replicas",
    TABLES,
    Column("replica", Text, primary_key=True),
    Column("parts", Text, nullable=False),
    Column("since_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

Steps = Sequence[Sequence[str]]
STEPS: Final[Steps] = (
    (
        """create table schema_version (version {bigint} not null)""",
        """insert into schema_version (version) values (0)""",
        """create table places (last {bigint} not null, forgotten {bigint} not null)""",
        """insert into places (last, forgotten) values (0, 0)""",
        """create table events (
            place {bigint} not null primary key, event_id {ordered} not null unique,
            source text not null, kind text not null,
            occurred_at {bigint} not null, stored_at {bigint} not null, body {blob} not null)""",
        """create table checkpoints (
            source text not null primary key, checkpoint text not null,
            stored {bigint} not null, stored_at {bigint} not null)""",
        """create table positions (
            sink text not null primary key, position {bigint} not null, memo text not null,
            settled {bigint} not null, buried {bigint} not null, settled_at {bigint})""",
        """create table dead_letters (
            id {identity}, source text not null, sink text not null,
            known_as text not null, event_id text not null, reason text not null,
            detail text not null, attempts {bigint} not null, first_seen_at {bigint} not null,
            last_seen_at {bigint} not null, body {blob} not null,
            unique (source, sink, known_as))""",
        """create table notes (
            part text not null primary key, state text not null, error text not null,
            remedy text not null, since_at {bigint} not null)""",
    ),
    (
        """create table chains (
            source text not null primary key, sequence {bigint} not null,
            digest text not null)""",
    ),
    (
        """alter table dead_letters add column asked_at {bigint}""",
        """create index dead_letters_asked on dead_letters (sink, id) where asked_at is not null""",
        """create index dead_letters_reasons on dead_letters (sink, reason)""",
        """create table replays (
            id {identity}, sink text not null, wanted text not null, after {bigint} not null,
            until {bigint} not null, events {bigint} not null, done {bigint} not null,
            oldest_at {bigint}, newest_at {bigint})""",
    ),
    (
        """alter table positions add column filtered {bigint} not null default 0""",
        """create index events_unknown on events (place) where kind = 'soteri.unknown'""",
    ),
    (
        """alter table checkpoints add column late {bigint} not null default 0""",
        """alter table checkpoints add column late_by {bigint} not null default 0""",
        """create table samples (
            part text not null, at {bigint} not null, events {bigint} not null,
            backlog {bigint} not null, lag {bigint} not null, primary key (part, at))""",
    ),
    (
        """create table pages (
            last {bigint} not null primary key, first {bigint} not null, source text not null,
            window_start {bigint}, window_end {bigint}, records {bigint} not null,
            stored_at {bigint} not null)""",
        """create table receipts (
            sink text not null, last {bigint} not null, number {bigint} not null,
            first {bigint} not null, events {bigint} not null, filtered {bigint} not null,
            attempts {bigint} not null, settled_at {bigint} not null, wanted text,
            primary key (sink, last, number))""",
    ),
    (
        """create table leases (
            name text not null primary key, token {bigint} not null, holder text not null,
            expires_at {bigint} not null)""",
        """create table replicas (
            replica text not null primary key, parts text not null, since_at {bigint} not null,
            expires_at {bigint} not null)""",
    ),
    (
        """create table discarded (
            source text not null, known_as text not null, seen_at {bigint} not null,
            primary key (source, known_as))""",
    ),
)
"""Step N leads from version N to N + 1. A step that was released never changes."""

# SQLite keeps a table in the order of its key only where the type is spelled INTEGER (it holds
# 64 bits all the same): https://sqlite.org/lang_createtable.html#rowid
# Ids are compared byte by byte, as Python does it: a language's own order is another.
_TYPES: Final = {
    "sqlite": {
        "bigint": "integer",
        "blob": "blob",
        "identity": "integer not null primary key autoincrement",
        "ordered": "text",
    },
    "postgresql": {
        "bigint": "bigint",
        "blob": "bytea",
        "identity": "bigint generated by default as identity primary key",
        "ordered": 'text collate "C"',
    },
}


def version(connection: Connection) -> int:
    """Return the stored version, 0 for an empty database.

    Raises:
        StoreError: the tables are another program's.
    """
    tables = inspect(connection).get_table_names()
    if SCHEMA.name in tables and PLACES.name in tables:
        return int(connection.execute(select(SCHEMA.c.version)).scalar_one())
    if tables:
        raise StoreError(
            f"another program's database: it has a table {min(tables)!r} and no version",
            remedy="give the forwarder a store of its own ([store] url): a file, or a database or"
            " schema on PostgreSQL",
        )
    return 0


def refuse_newer(found: int, known: int) -> None:
    """Raise StoreError where a later release has written the store."""
    if found > known:
        raise StoreError(
            f"version {found} of the tables, and this release knows {known} at most:"
            " a later release has written it",
            remedy="run that release or a later one, or restore the backup from before the upgrade",
        )


def must_be_current(connection: Connection) -> None:
    """Raise StoreError where the tables are not those that this release works on."""
    found = version(connection)
    refuse_newer(found, len(STEPS))
    if found < len(STEPS):
        raise StoreError(
            "not up to date" if found else "empty",
            remedy="start the daemon once (soteri-forwarder run): it brings the store up to date",
        )


def migrate(connection: Connection, steps: Steps = STEPS) -> int:
    """Take every step that is missing, in the connection's transaction; return how many.

    Raises:
        StoreError: the tables are another program's, or a later release's.
    """
    found = version(connection)
    refuse_newer(found, len(steps))
    types = _TYPES[connection.dialect.name]
    for step in steps[found:]:
        for statement in step:
            connection.execute(text(statement.format_map(types)))
    if found < len(steps):
        connection.execute(update(SCHEMA).values(version=len(steps)))
    return len(steps) - found
