"""How everything is: what the store alone can say, and what the loops know beyond it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from forwarder import __version__
from forwarder.app.parts import Loop
from forwarder.app.watching import memories
from forwarder.config import Config
from forwarder.interfaces import Acknowledged, Outbox
from forwarder.model import (
    LossHorizon,
    Room,
    SinkStatus,
    SourceStatus,
    Status,
    StoredSink,
    StoredSource,
    StoreStatus,
)
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.history import History
from forwarder.pipeline.horizon import Stored, loss_horizons
from forwarder.pipeline.poller import Poller
from forwarder.watches.memory import Memory


async def stored_status(config: Config, outbox: Outbox) -> Status:
    """Return what the store alone can say of what is configured, with or without a daemon."""
    now = datetime.now(UTC)
    stored = await outbox.status()
    room = await outbox.room()
    remembered = memories(config, stored)
    buried: dict[str, int] = {}
    for (sink, _), count in stored.dead_letters.items():
        buried[sink] = buried.get(sink, 0) + count
    return Status(
        version=__version__,
        at=now,
        running=False,
        sources=tuple(
            replace(
                _source_status(name, source.type, stored.sources.get(name), remembered.get(name)),
                replica=stored.shares.holders.get(f"sources.{name}", ""),
            )
            for name, source in config.sources.items()
        ),
        sinks=tuple(
            replace(
                _sink_status(name, sink.type, stored.sinks.get(name), buried.get(name, 0), now),
                replica=stored.shares.holders.get(f"sinks.{name}", ""),
            )
            for name, sink in config.sinks.items()
        ),
        unreadable_records=buried.get("", 0),
        unknown_events=stored.unknown,
        store_bytes=stored.size,
        store_limit_bytes=room.limit,
        replicas=tuple(each.name for each in stored.shares.replicas),
        loss_horizons=_horizons(config, stored, room, now),
        conditions=tuple(each for known in remembered.values() for each in known.conditions),
        heartbeat_at=remembered[""].beat_at if "" in remembered else None,
    )


def unstored_status(config: Config, seen: Status | None, error: str) -> Status:
    """Return what can be said while the store is away: what was `seen` of it last, and why."""
    known = seen or Status(
        version=__version__,
        at=datetime.now(UTC),
        running=False,
        sources=tuple(SourceStatus(name=n, type=each.type) for n, each in config.sources.items()),
        sinks=tuple(SinkStatus(name=n, type=each.type) for n, each in config.sinks.items()),
    )
    return replace(known, at=datetime.now(UTC), store_error=error)


def with_loops(status: Status, loops: Iterable[Loop], history: History) -> Status:
    """Return `status` of a daemon that runs `loops`."""
    by_key = {(loop.progress.component, loop.name): loop for loop in loops}
    return replace(
        status,
        running=True,
        sources=tuple(
            replace(
                each,
                rate=history.rate(f"sources.{each.name}", each.events_stored),
                **_polling(by_key.get(("source", each.name))),
            )
            for each in status.sources
        ),
        sinks=tuple(
            replace(
                each,
                rate=history.rate(f"sinks.{each.name}", each.events_sent),
                **_sending(by_key.get(("sink", each.name))),
            )
            for each in status.sinks
        ),
    )


def _polling(loop: Loop | None) -> dict[str, Any]:
    if not isinstance(loop, Poller):
        return {}
    known = _progress(loop) | {
        "polled_at": loop.progress.succeeded_at,
        "next_poll_at": loop.progress.next_at,
    }
    if polled := loop.polled:
        known |= {"poll_seconds": round(polled.seconds, 3), "poll_records": polled.records}
        if polled.window:
            known |= dict(zip(("window_start", "window_end"), polled.window, strict=True))
    return known


def _sending(loop: Loop | None) -> dict[str, Any]:
    if not isinstance(loop, Dispatcher):
        return {}
    acked = loop.sink.unacknowledged if isinstance(loop.sink, Acknowledged) else None
    return _progress(loop) | {"next_try_at": loop.progress.next_at, "unacknowledged": acked}


def _progress(loop: Loop) -> dict[str, Any]:
    progress = loop.progress
    return {
        "state": progress.state,
        "since_at": progress.since_at,
        "error": progress.error,
        "remedy": progress.remedy,
        "failures": progress.failures,
    }


def _horizons(
    config: Config, stored: StoreStatus, room: Room, now: datetime
) -> tuple[LossHorizon, ...]:
    sources = {name: stored.sources[name] for name in config.sources if name in stored.sources}
    sinks = {name: stored.sinks[name] for name in config.sinks if name in stored.sinks}
    return loss_horizons(
        marks={
            name: (known.checkpoint.mark, config.sources[name].retention)
            for name, known in sources.items()
            if known.checkpoint
        },
        backlogs={
            name: (known.backlog, config.sinks[name].age_limit) for name, known in sinks.items()
        },
        stored=Stored(room, stored.events, stored.rate),
        now=now,
    )


def _source_status(
    name: str, type_: str, known: StoredSource | None, watch: Memory | None
) -> SourceStatus:
    if known is None:
        return SourceStatus(name=name, type=type_)
    return SourceStatus(
        name=name,
        type=type_,
        state=known.note.state if known.note else "stopped",
        since_at=known.note.since_at if known.note else None,
        mark=known.checkpoint.mark if known.checkpoint else None,
        events_stored=known.stored,
        stored_at=known.stored_at,
        late_events=known.late,
        late_by_seconds=known.late_by,
        chain=known.chain,
        audit=watch.settings if watch else None,
        error=known.note.error if known.note else "",
        remedy=known.note.remedy if known.note else "",
    )


def _sink_status(
    name: str, type_: str, known: StoredSink | None, dead_letters: int, now: datetime
) -> SinkStatus:
    if known is None:
        return SinkStatus(name=name, type=type_, dead_letters=dead_letters)
    oldest = known.backlog.oldest_at
    return SinkStatus(
        name=name,
        type=type_,
        state=known.note.state if known.note else "stopped",
        since_at=known.note.since_at if known.note else None,
        position=known.backlog.position,
        backlog_events=known.backlog.events,
        lag_seconds=max((now - oldest).total_seconds(), 0.0) if oldest else 0.0,
        events_sent=known.settled,
        events_filtered=known.filtered,
        dead_letters=dead_letters,
        replay_events=known.replay_events,
        replay_left=known.replay_left,
        sent_at=known.settled_at,
        error=known.note.error if known.note else "",
        remedy=known.note.remedy if known.note else "",
    )
