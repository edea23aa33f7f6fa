"""The way of one event: what brought it, what it is known by, what each sink made of it."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from forwarder.config import Config
from forwarder.errors import ForwarderError
from forwarder.interfaces import Outbox, Rereads
from forwarder.model import DeadLetter, Event, Note, Record, StoredPage, StoredReceipt, Trail
from forwarder.options import RedactOptions, SinkOptions
from forwarder.selection import matcher
from forwarder.sources.bitbucket_audit.identity import LEFT_OUT, occurrence

Fate = Literal["delivered", "waiting", "filtered", "buried", "discarded", "passed"]


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the event's id was made of, made again from what is stored.

    `parts` are hashed, `left_out` are not; `occurrence` counts from 1 among equal records.
    `unknown` says, where it is not empty, why the id cannot be made again.
    """

    namespace: str = ""
    parts: dict[str, Any] = {}
    left_out: tuple[str, ...] = ()
    occurrence: int = 0
    unknown: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the event at one sink.

    `at` is when it was settled and `attempts` how many sends that took. `rule` filtered it, or
    will. `passed` is for what was settled by a release that kept no receipts. `redacted` are the
    fields that the sink is not told, by today's configuration.
    """

    sink: str
    fate: Fate
    at: datetime | None = None
    attempts: int = 0
    because: str = ""
    remedy: str = ""
    rule: str = ""
    ahead: int = 0
    letter: int | None = None
    sent_again_at: tuple[datetime, ...] = ()
    redacted: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The way of one event. `place` is None where only a dead letter is left of it."""

    event: Event
    place: int | None
    page: StoredPage | None
    identity: Identity
    redacted_in_store: bool
    deliveries: tuple[Delivery, ...]


async def explain(config: Config, outbox: Outbox, event_id: str) -> Explanation | None:
    """Return the way of the event, None where nothing is known of it.

    Raises:
        StoreError, TransientError: the store cannot be read.
    """
    trail = await outbox.trail(event_id)
    if trail is None:
        return None
    notes = {name: sink.note for name, sink in (await outbox.status()).sinks.items()}
    stored_redacted = config.store.redact != RedactOptions(credentials=False)
    redacted = stored_redacted and b"[redacted" in bytes(trail.event.original)
    return Explanation(
        event=trail.event,
        place=trail.place,
        page=trail.page,
        identity=await _identity(config, trail.event, redacted=redacted),
        redacted_in_store=redacted,
        deliveries=tuple(_deliveries(config, trail, notes)),
    )


async def _identity(config: Config, event: Event, *, redacted: bool) -> Identity:
    options = config.sources.get(event.source)
    if options is None:
        return Identity(unknown=f"no source {event.source} is configured")
    if redacted:
        return Identity(unknown="what it was made of was redacted before it was stored")
    try:
        async with options.open(name=event.source) as source:
            record = source.decode(bytes(event.original)) if isinstance(source, Rereads) else None
    except ForwarderError as error:
        return Identity(unknown=str(error))
    if not isinstance(record, Record):
        return Identity(unknown=f"a source of type {options.type} does not say")
    before = occurrence(record.event_id, event.event_id)
    if before is None:
        return Identity(unknown="another name of the source, identity or release has made it")
    return Identity(
        namespace=getattr(options, "identity", None) or event.source,
        parts=dict(_parts(record)),
        left_out=LEFT_OUT,
        occurrence=before + 1,
    )


def _parts(record: Record) -> Iterator[tuple[str, Any]]:
    yield "timestamp", record.occurred_at
    yield "author", record.actor
    kind = (record.category, record.category_key, record.action, record.action_key)
    yield "type", kind
    yield "affectedObjects", record.objects
    yield "changedValues", record.changes
    yield "extraAttributes", record.attributes
    yield "source", record.address or None
    yield "node", record.node or None
    yield "system", record.system or None
    yield "method", record.method or None


def _deliveries(
    config: Config, trail: Trail, notes: Mapping[str, Note | None]
) -> Iterator[Delivery]:
    for name in sorted({*config.sinks, *(each.sink for each in trail.receipts)}):
        options = config.sinks.get(name)
        receipts = [each for each in trail.receipts if each.sink == name]
        letter = next((each for each in trail.letters if each.sink == name), None)
        found = _fate(name, options, trail, receipts, letter, notes.get(name))
        if options is None:
            yield found
            continue
        yield msgspec.structs.replace(found, redacted=tuple(_redacted(options, trail.event)))


def _fate(
    name: str,
    options: SinkOptions | None,
    trail: Trail,
    receipts: list[StoredReceipt],
    letter: DeadLetter | None,
    note: Note | None,
) -> Delivery:
    event, place = trail.event, trail.place
    rule = options.refusing(event) if options else ""
    again = tuple(
        each.at
        for each in receipts
        if each.how == "replay" and not rule and each.wanted and matcher(each.wanted)(event)
    )
    if letter is not None:
        asked = "; it is sent again" if letter.asked_at else ""
        return Delivery(
            sink=name,
            fate="buried",
            at=letter.last_seen_at,
            attempts=letter.attempts,
            because=f"{letter.reason}: {letter.detail}{asked}",
            remedy="" if asked else f"mend that, then: dead-letters replay {letter.id}",
            letter=letter.id,
            sent_again_at=again,
        )
    alone = next((each for each in receipts if each.how in ("letter", "discarded")), None)
    if alone is not None:
        return Delivery(
            sink=name,
            fate="delivered" if alone.how == "letter" else "discarded",
            at=alone.at,
            attempts=alone.attempts,
            because="after it had been a dead letter",
            sent_again_at=again,
        )
    position = trail.positions.get(name, 0)
    if place is None or position >= place:
        turn = next((each for each in receipts if each.how == "turn"), None)
        return _settled(name, turn, rule, again)
    return Delivery(
        sink=name,
        fate="waiting",
        ahead=place - position - 1,
        because=f"{note.state}: {note.error}" if note and note.error else "",
        remedy=note.remedy if note else "",
        rule=rule,
    )


def _settled(
    name: str, turn: StoredReceipt | None, rule: str, again: tuple[datetime, ...]
) -> Delivery:
    """Return what a batch says of one of its events.

    Which of them were filtered is not kept for each: where some were, today's rules tell.
    """
    if turn is None:
        return Delivery(sink=name, fate="passed", sent_again_at=again)
    if turn.filtered and (rule or not turn.events):
        because = "" if rule else "by rules that have changed since"
        return Delivery(
            sink=name, fate="filtered", at=turn.at, rule=rule, because=because, sent_again_at=again
        )
    return Delivery(
        sink=name, fate="delivered", at=turn.at, attempts=turn.attempts, sent_again_at=again
    )


def _redacted(options: SinkOptions, event: Event) -> Iterator[str]:
    redact = options.redact.redactor()
    left = redact(event) if redact else event
    for name in event.__struct_fields__:
        if name != "chain" and getattr(event, name) != getattr(left, name):
            yield name
