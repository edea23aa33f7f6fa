"""How sources and sinks are, for those who look without the daemon."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, func, literal_column, select

from forwarder.model import Note, StoredSink, StoredSource, StoreStatus
from forwarder.store.schema import CHECKPOINTS, EVENTS, NOTES, POSITIONS
from forwarder.store.transactions import leases, put, replays
from forwarder.store.transactions.append import chain_heads, decode_checkpoint
from forwarder.store.transactions.dead_letters import asked, count_dead_letters
from forwarder.store.transactions.events import count_and_rate
from forwarder.store.transactions.positions import backlog
from forwarder.times import moment

# As its partial index says it, so that the events are not gone through.
_UNKNOWN: Final = (
    select(func.count())
    .select_from(EVENTS)
    .where(EVENTS.c.kind == literal_column("'soteri.unknown'"))
)


def status(connection: Connection, size: int, now: int) -> StoreStatus:
    """Return what is known of every source and sink, and of what was given up on."""
    events, rate = count_and_rate(connection, now)
    return StoreStatus(
        sources=_sources(connection),
        sinks=_sinks(connection),
        dead_letters=count_dead_letters(connection),
        size=size,
        events=events,
        rate=rate,
        shares=leases.shares(connection),
        unknown=connection.execute(_UNKNOWN).scalar_one(),
    )


def note(connection: Connection, part: str, state: str, error: str, remedy: str, now: int) -> None:
    """Keep how a part is; `since_at` changes with the state only."""
    known = connection.execute(select(NOTES).where(NOTES.c.part == part)).first()
    since_at = known.since_at if known is not None and known.state == state else now
    values = {"state": state, "error": error, "remedy": remedy, "since_at": since_at}
    put(connection, NOTES, {"part": part}, values)


def _notes(connection: Connection, of: str) -> dict[str, Note]:
    """Return the notes of ``sources`` or ``sinks`` by name."""
    rows = connection.execute(select(NOTES).where(NOTES.c.part.startswith(f"{of}.")))
    return {
        row.part.partition(".")[2]: Note(row.state, row.error, row.remedy, moment(row.since_at))
        for row in rows
    }


def _sources(connection: Connection) -> dict[str, StoredSource]:
    """Return every source that was ever stored, by name."""
    noted = _notes(connection, "sources")
    stored = {row.source: row for row in connection.execute(select(CHECKPOINTS))}
    heads = chain_heads(connection)
    return {
        name: StoredSource(
            checkpoint=decode_checkpoint(stored[name].checkpoint) if name in stored else None,
            stored=stored[name].stored if name in stored else 0,
            stored_at=moment(stored[name].stored_at) if name in stored else None,
            note=noted.get(name),
            chain=heads.get(name),
            late=stored[name].late if name in stored else 0,
            late_by=stored[name].late_by / 1000 if name in stored else 0.0,
        )
        for name in sorted(stored.keys() | noted.keys())
    }


def _sinks(connection: Connection) -> dict[str, StoredSink]:
    """Return every sink that was ever stored, by name."""
    noted = _notes(connection, "sinks")
    stored = {row.sink: row for row in connection.execute(select(POSITIONS))}
    return {
        name: _sink(connection, name, row, noted.get(name)) for name, row in _named(stored, noted)
    }


def _sink(connection: Connection, name: str, row: Any, note: Note | None) -> StoredSink:  # noqa: ANN401  a row or None
    letters = asked(connection, name)
    events, left = replays.left(connection, name)
    return StoredSink(
        backlog=backlog(connection, name),
        settled=row.settled if row else 0,
        buried=row.buried if row else 0,
        filtered=row.filtered if row else 0,
        settled_at=moment(row.settled_at) if row and row.settled_at is not None else None,
        note=note,
        replay_events=events + letters,
        replay_left=left + letters,
    )


def _named(stored: Mapping[str, Any], noted: Mapping[str, Note]) -> Iterator[tuple[str, Any]]:
    for name in sorted(stored.keys() | noted.keys()):
        yield name, stored.get(name)
