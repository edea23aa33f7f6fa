"""From the bytes of an answer to records: no record that Bitbucket shows costs us the page. Pure.

The straight road decodes in C. A page or a record that it does not take goes the lenient road;
only what is no object there, or has no readable time, becomes `Unreadable`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from forwarder import times
from forwarder.model import Actor, AffectedObject, Change, Record, Unreadable
from forwarder.remembered import remembered
from forwarder.sources.bitbucket_audit import identity, instants, lenient
from forwarder.sources.bitbucket_audit.shapes import Answer, AuditType, Entity, Parts


def _decoder(shape: Any) -> Callable[[bytes], Any]:  # noqa: ANN401  a type, maybe a union
    """Return a decoder that remembers what is short.

    Who did what to which object comes again in record after record. One value for all of them is
    quicker, most of all later on: what is worked on together then fits into the processor's caches.
    """
    return remembered(msgspec.json.Decoder(shape).decode)


_answer: Final = msgspec.json.Decoder(Answer).decode
_parts: Final = msgspec.json.Decoder(Parts).decode
_author: Final = _decoder(Actor | None)
_type: Final = _decoder(AuditType | None)
_objects: Final = _decoder(tuple[AffectedObject, ...] | None)
_changes: Final = _decoder(tuple[Change, ...] | None)
_any: Final = msgspec.json.Decoder(msgspec.Raw).decode
_NO_TYPE: Final = AuditType()


class NotAPageError(ValueError):
    """The bytes are JSON, but no page of the audit log."""


def page(body: bytes | bytearray) -> Answer:
    """Return the page that `body` holds; its entities are not looked into.

    Raises:
        NotAPageError: it is a JSON value without a list of entities and paging.
        ValueError: it is no JSON, or breaks off.
    """
    try:
        return _answer(body)
    except msgspec.ValidationError as error:
        raise NotAPageError(str(error)) from error
    except (msgspec.DecodeError, RecursionError):  # one bad record is enough
        entities, rest = lenient.split(bytes(body))
    try:
        answer = _answer(rest)
    except msgspec.ValidationError as error:
        raise NotAPageError(str(error)) from error
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if len(answer.entities) != len(entities):
        raise ValueError("its entities cannot be told apart")
    return Answer([msgspec.Raw(entity) for entity in entities], answer.paging_info)


def record(raw: msgspec.Raw, *, namespace: str) -> Record | Unreadable:
    """Return what an entity tells, with the id of the first among equals; never raises.

    Nothing of it keeps the page's bytes alive.
    """
    original = bytes(raw)
    try:
        original.decode()  # msgspec does not look at the bytes of strings that it skips
        return record_of(_entity(original), _on_one_line(original), namespace)
    except (ValueError, OverflowError, RecursionError):  # msgspec's own errors are ValueErrors
        text = original.decode(errors="replace")
    try:
        return record_of(lenient.entity(text), kept(original, text), namespace)
    except (ValueError, OverflowError, RecursionError) as error:
        return Unreadable(original, f"{type(error).__name__}: {error}"[:500])


def _entity(original: bytes) -> Entity:
    parts = _parts(original)
    return Entity(
        timestamp=parts.timestamp,
        author=_author(bytes(parts.author)),
        type=_type(bytes(parts.type)),
        affected_objects=_objects(bytes(parts.affected_objects)),
        changed_values=_changes(bytes(parts.changed_values)),
        extra_attributes=parts.extra_attributes,
        source=parts.source,
        node=parts.node,
        system=parts.system,
        method=parts.method,
    )


def record_of(
    entity: Entity, original: msgspec.Raw, namespace: str, at: datetime | None = None
) -> Record:
    """Return the record of an entity that happened `at`, or when its timestamp says.

    Raises:
        ValueError, OverflowError: its timestamp is no instant.
    """
    at = at or instants.parse(entity.timestamp)
    told = entity.type or _NO_TYPE
    return Record(
        event_id=identity.derive(namespace, times.milliseconds(at), entity),
        occurred_at=at,
        category=told.category or "",
        category_key=told.category_i18n_key or "",
        action=told.action or "",
        action_key=told.action_i18n_key or "",
        actor=entity.author,
        objects=entity.affected_objects or (),
        changes=entity.changed_values or (),
        attributes=entity.extra_attributes or (),
        address=entity.source,
        node=entity.node,
        system=entity.system,
        method=entity.method,
        original=original,
    )


def kept(original: bytes, text: str) -> msgspec.Raw:
    """Return the original as JSON: itself where it is strict, else a string of its text."""
    try:
        original.decode()
        _any(original)
    except (ValueError, RecursionError):
        return msgspec.Raw(msgspec.json.encode(text))
    return _on_one_line(original)


def _on_one_line(strict: bytes) -> msgspec.Raw:
    """Return strict JSON without the line ends between its tokens; inside of strings are none."""
    if b"\n" in strict or b"\r" in strict:
        return msgspec.Raw(msgspec.json.format(strict, indent=-1))
    return msgspec.Raw(strict)
