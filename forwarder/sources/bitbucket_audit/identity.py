"""What makes a record the same record, by whatever road it is read. Pure.

The API gives no ids: identity is content, and an occurrence number among equals. Whoever reads
the same Bitbucket by another road (the node's audit files) fills the same `Entity` and makes the
same id with the same namespace. What changes here makes every stored event a new one: tests pin it.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from forwarder.model import Attribute, Record
from forwarder.sources.bitbucket_audit.shapes import Entity

_MASK: Final = (1 << 48) - 1
_DIGEST_BYTES: Final = 10
_EQUALS: Final = 1000
LEFT_OUT: Final = ("uri", "avatarUri")
"""What has no part: Bitbucket makes them up anew at each reading."""
_encode = msgspec.json.Encoder().encode
_LISTS: Final = (4, 5, 6)
"""Where in the content objects, changes and attributes stand."""
# Twice as quick as `in`. What lets other threads run meanwhile costs more than it does, for each
# event.
_is_empty_somewhere: Final = re.compile(rb':""').search


def derive(namespace: str, ms: int, entity: Entity) -> str:
    """Return the id (see `Record`) of the first of the entities equal to this one.

    Attributes come in any order, and `LEFT_OUT` have no part. What is empty and what is absent are
    one thing: Bitbucket's two writers need not agree on it.
    """
    attributes = entity.extra_attributes or ()
    content = _encode(
        (
            namespace,
            ms,
            entity.author,
            entity.type,
            entity.affected_objects or (),
            entity.changed_values or (),
            _sorted(attributes),
            entity.source or None,
            entity.node or None,
            entity.system or None,
            entity.method or None,
        )
    )
    if _is_empty_somewhere(content):
        content = _without_empty(content)
    return f"{ms & _MASK:012x}{blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()}"


def _sorted(attributes: tuple[Attribute, ...]) -> Sequence[Attribute]:
    """Return the attributes in the order of what they are encoded to."""
    if len(attributes) < 2:
        return attributes
    order = _order(tuple([attribute.name for attribute in attributes]))
    if order is None:
        return sorted(attributes, key=_encode)
    return [attributes[place] for place in order]


@lru_cache(maxsize=1024)
def _order(names: tuple[str | None, ...]) -> Sequence[int] | None:
    """Return how attributes of these names are sorted, or None where that hangs on the rest too.

    The name is what an attribute's encoding begins with, so where names differ nothing else counts;
    and those of an action are the same in all of its events.
    """
    if None in names or len(set(names)) < len(names):
        return None
    return sorted(range(len(names)), key=lambda place: _encode(Attribute(name=names[place])))


def _without_empty(content: bytes) -> bytes:
    """Return the content as if nothing that is empty had been said."""
    parts = [_filled(part) for part in msgspec.json.decode(content)]
    for place in _LISTS:
        parts[place] = [_filled(one) for one in parts[place]]
    parts[_LISTS[-1]].sort(key=_encode)
    return _encode(parts)


def _filled(part: object) -> Any:  # noqa: ANN401  any JSON value
    if isinstance(part, dict):
        return {name: text for name, text in part.items() if text != ""}
    return part


def number(records: Iterable[Record]) -> list[Record]:
    """Return the records with every equal one after the first told apart by its occurrence.

    Equals are counted in the order given, so it must be the log's own, oldest first, and hold
    every record of each millisecond: then a later reading gives the same numbers, and an equal
    record that shows up later gets the next one.
    """
    seen: dict[str, int] = {}
    numbered = []
    for record in records:
        occurrence = seen.get(record.event_id, 0)
        seen[record.event_id] = occurrence + 1
        numbered.append(again(record, occurrence) if occurrence else record)
    return numbered


def occurrence(first: str, event_id: str) -> int | None:
    """Return how many equals lie before the record with `event_id`, where `first` is the first's.

    None where it is none of the thousand that follow.
    """
    if first == event_id:
        return 0
    numbers = range(1, _EQUALS)
    return next((n for n in numbers if _numbered(first, n) == event_id), None)


def again(record: Record, occurrence: int) -> Record:
    """Return the record as the one that has `occurrence` equals before it, at least one."""
    return msgspec.structs.replace(record, event_id=_numbered(record.event_id, occurrence))


def _numbered(first: str, occurrence: int) -> str:
    content = f"{first}#{occurrence}".encode()
    return first[:12] + blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
