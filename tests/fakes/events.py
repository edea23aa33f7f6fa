"""Events and batches for tests, told apart by a number."""

from datetime import UTC, datetime, timedelta

import msgspec

from forwarder.model import Actor, AffectedObject, Batch, Event

BEGINNING = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def event(number: int = 1, **changes: object) -> Event:
    """Return event `number`: one second after the one before, with an id that sorts by number."""
    occurred_at = BEGINNING + timedelta(seconds=number)
    fields: dict[str, object] = {
        "event_id": f"{int(occurred_at.timestamp() * 1000):012x}{number:020x}",
        "source": "bitbucket",
        "kind": "hook.skipped",
        "severity": "high",
        "occurred_at": occurred_at,
        "category": "Soteri Security for Bitbucket",
        "action": "Security hook skipped",
        "actor": Actor(name="alice", type="NORMAL", id="2"),
        "objects": (AffectedObject(type="REPOSITORY", name="payments", id=str(number)),),
        "address": "10.0.0.1",
        "original": msgspec.Raw(b'{"number":%d}' % number),
    }
    return Event(**{**fields, **changes})  # type: ignore[arg-type]


def batch(*events: Event, first: int = 1) -> Batch:
    """Return `events` as a batch at the places from `first` on."""
    return Batch(events, tuple(range(first, first + len(events))))


def numbered(count: int, *, first: int = 1) -> Batch:
    """Return a batch of `count` events, numbered and placed from `first` on."""
    return batch(*(event(number) for number in range(first, first + count)), first=first)


def ids(sent: Batch) -> list[str]:
    """Return the ids of a batch's events, in its order."""
    return [each.event_id for each in sent.events]
