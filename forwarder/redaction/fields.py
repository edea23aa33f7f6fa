"""Where in an event something stands, in the words in which users name it."""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from forwarder.model import Context, Event

Field = Callable[[Event], Iterator[str | None]]
"""Yields the texts that stand in a field of an event."""

_NOTHING: Final = Context()


def _context(event: Event) -> Context:
    """Return what was looked up beside the record: other names of who and what it names."""
    return _NOTHING if event.context is msgspec.UNSET else event.context


_ONE: Final[dict[str, Field]] = {
    "actor.name": lambda event: iter(
        (event.actor.name if event.actor else None, _context(event).actor_name)
    ),
    "actor.id": lambda event: iter((event.actor.id if event.actor else None,)),
    "address": lambda event: iter((event.address, *(event.address or "").split(","))),
    "node": lambda event: iter((event.node,)),
    "system": lambda event: iter((event.system,)),
    "method": lambda event: iter((event.method,)),
    "objects.name": lambda event: iter(
        (
            *(thing.name for thing in event.objects),
            _context(event).project_name,
            _context(event).repository_name,
        )
    ),
    "objects.id": lambda event: (thing.id for thing in event.objects),
}


def field(named: str) -> Field:
    """Return the field that `named` means, in any case.

    ``attributes.NAME`` and ``changes.NAME`` are the values of that name, ``*`` in it is any part.

    Raises:
        ValueError: there is none; the message says which there are.
    """
    folded = " ".join(named.casefold().split())
    if found := _ONE.get(folded):
        return found
    family, dot, name = folded.partition(".")
    if not dot or not name or family not in ("attributes", "changes"):
        known = ", ".join((*_ONE, "attributes.NAME", "changes.NAME"))
        raise ValueError(f'"{named}" is no field of an event; known are {known}')
    parts = (re.escape(part) for part in name.split("*"))
    pattern = re.compile(".*".join(parts), re.DOTALL)
    return _attributes(pattern) if family == "attributes" else _changes(pattern)


def _attributes(pattern: re.Pattern[str]) -> Field:
    return lambda event: (
        each.value for each in event.attributes if pattern.fullmatch((each.name or "").casefold())
    )


def _changes(pattern: re.Pattern[str]) -> Field:
    return lambda event: (
        side
        for each in event.changes
        if pattern.fullmatch((each.key or "").casefold())
        for side in (each.from_, each.to)
    )
