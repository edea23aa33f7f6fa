"""The lenient road: what is no strict JSON, or has other shapes than documented. Pure."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from forwarder import times
from forwarder.model import Actor, AffectedObject, Attribute, Change
from forwarder.sources.bitbucket_audit.shapes import AuditType, Entity

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},:]', re.DOTALL)
"""A string, whole or broken off, or what gives JSON its structure (RFC 8259 section 2)."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

T = TypeVar("T", bound=msgspec.Struct)

_fields: Final = cache(msgspec.structs.fields)


class Number(str):
    """A number as it was written: 400 digits stay 400 digits."""

    __slots__ = ()


def split(body: bytes) -> tuple[list[bytes], bytes]:
    """Return the bytes of each entity of a page that is bad inside, and the page without them.

    In the page that is returned each entity is a 0: if that page is strict JSON, then nothing but
    the entities can be bad. Only strings and brackets are looked at, and depth is a number, so
    neither what no parser takes nor what is nested without end stops it.
    """
    depth, element, copied = 0, 0, 0
    last = key = b""
    entities: list[bytes] = []
    rest = bytearray()
    for match in _TOKEN.finditer(body):
        token, at, end = match[0], match.start(), match.end()
        if token[:1] == b'"':
            last = token
        elif token == b":":
            key = last if depth == 1 else key
        else:
            in_entities = depth == 2 and key == b'"entities"'
            if in_entities and token in b",]" and (found := body[element:at].strip()):
                entities.append(found)
                rest += body[copied:element] + b"0"
                copied = element = at  # where brackets do not pair, nothing is taken twice
            depth += 1 if token in b"[{" else -1 if token in b"]}" else 0
            if depth == 2 and token in b"[,":
                element = end
    return entities, bytes(rest + body[copied:])


def entity(text: str) -> Entity:
    """Return what can be told of one record, whatever its shapes; lone surrogates are replaced.

    Raises:
        ValueError, OverflowError, RecursionError: it is no object, or has no readable time.
    """
    found = json.loads(
        text, strict=False, parse_int=Number, parse_float=Number, parse_constant=Number
    )
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  all that ends here is unreadable
    author, audit_type = found.get("author"), found.get("type")
    return Entity(
        timestamp=_timestamp(found.get("timestamp")),
        author=None if author is None else _filled(Actor, author, alone="name"),
        type=None if audit_type is None else _filled(AuditType, audit_type, alone="action"),
        affected_objects=tuple(_each(AffectedObject, found.get("affectedObjects"), alone="name")),
        changed_values=tuple(_each(Change, found.get("changedValues"), alone="key")),
        extra_attributes=tuple(_each(Attribute, found.get("extraAttributes"), alone="value")),
        source=_text(found.get("source")),
        node=_text(found.get("node")),
        system=_text(found.get("system")),
        method=_text(found.get("method")),
    )


def _timestamp(value: object) -> str:
    if isinstance(value, Number):  # epoch milliseconds, as Bitbucket's older APIs write them
        return times.moment(int(value)).isoformat()
    if isinstance(value, str):
        return value
    raise ValueError("it has no timestamp" if value is None else "its timestamp is no text")


def _each(shape: type[T], value: object, *, alone: str) -> Iterator[T]:
    if value is not None:
        for part in value if isinstance(value, list) else [value]:
            yield _filled(shape, part, alone=alone)


def _filled(shape: type[T], value: object, *, alone: str) -> T:
    """Return `value`'s fields as texts; what is no object goes whole into the field `alone`."""
    given: dict[str, Any] = value if isinstance(value, dict) else {alone: value}
    fields = _fields(shape)
    return shape(**{field.name: _text(given.get(field.encode_name)) for field in fields})


def _text(value: object) -> str | None:
    if value is None:
        return None
    found = str(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _SURROGATE.sub("\ufffd", found)  # UTF-8 has none, so no sink could take them
