"""From a value of the audit API before Bitbucket 8.0 to a record. Pure."""

from typing import Any, Final

import msgspec

from forwarder import times
from forwarder.model import Actor, AffectedObject, Attribute, Record, Unreadable
from forwarder.sources.bitbucket_audit import identity
from forwarder.sources.bitbucket_audit.shapes import AuditType, Entity

_DETAILS: Final = "bitbucket.audit.attribute.legacy.details"
"""The key under which the newer API keeps what this one calls details."""


class _User(msgspec.Struct, frozen=True, rename="camel"):
    name: str | None = None
    id: int | str | None = None
    type: str | None = None


class _Value(msgspec.Struct, frozen=True, rename="camel"):
    timestamp: int
    action: str | None = None
    details: Any = None
    user: _User | None = None


class Values(msgspec.Struct, frozen=True, rename="camel"):
    """One page in Bitbucket's ordinary paging, newest first; its values as they came."""

    values: list[msgspec.Raw]
    is_last_page: bool = True
    next_page_start: int | None = None


_page: Final = msgspec.json.Decoder(Values).decode
_value: Final = msgspec.json.Decoder(_Value).decode
_encode: Final = msgspec.json.Encoder().encode


def page(body: bytes | bytearray) -> Values:
    """Return the page that `body` holds.

    Raises:
        msgspec.ValidationError: it is no such page.
        ValueError: it is no JSON, or breaks off.
    """
    return _page(body)


def record(
    raw: msgspec.Raw, *, namespace: str, objects: tuple[AffectedObject, ...]
) -> Record | Unreadable:
    """Return what a value tells of `objects`, with the id of the first among equals."""
    original = bytes(raw)
    try:
        original.decode()
        found = _value(original)
        at = times.moment(found.timestamp)
    except (ValueError, OverflowError, RecursionError) as error:
        return Unreadable(original, f"{type(error).__name__}: {error}"[:500])
    user = found.user
    entity = Entity(
        timestamp="",
        author=None if user is None else _actor(user),
        type=AuditType(action=found.action),
        affected_objects=objects,
        extra_attributes=_attributes(found.details),
    )
    return Record(
        event_id=identity.derive(namespace, found.timestamp, entity),
        occurred_at=at,
        action=found.action or "",
        actor=entity.author,
        objects=objects,
        attributes=entity.extra_attributes or (),
        original=msgspec.Raw(msgspec.json.format(original, indent=-1)),
    )


def _actor(user: _User) -> Actor:
    return Actor(user.name, user.type, None if user.id is None else str(user.id))


def _attributes(details: object) -> tuple[Attribute, ...]:
    if details is None:
        return ()
    text = details if isinstance(details, str) else _encode(details).decode()
    return (Attribute(name="details", name_i18n_key=_DETAILS, value=text),)
