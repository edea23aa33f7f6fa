"""A suspicion that a row gives rise to, and the event that tells it. Pure."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, Protocol

import msgspec

from forwarder.model import AffectedObject, Attribute, Event, EventFilter, Record
from forwarder.times import milliseconds
from forwarder.watches.telling import CATEGORY, CATEGORY_KEY, NOTHING, Teller

CITED: Final = 20
"""Ids that an event cites at most; its attribute `count` says how many there are."""
_DIGEST_BYTES: Final = 10
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is to be told: `anchor` is the event that completes it, and gives time, actor, node.

    `drawn_from` are the ids that the event's own is made of, `cited` those that it names.
    """

    kind: str
    anchor: Event
    drawn_from: Sequence[str]
    cited: Sequence[str]
    detail: str
    facts: Mapping[str, str] = field(default_factory=dict)
    objects: tuple[AffectedObject, ...] = ()


Look = Callable[[EventFilter], Awaitable[list[Event]]]
"""Gives the events that match, of those that were stored up to the row in question."""


class Rule(Protocol):
    """Folds rows into what it remembers; `kinds` are those of the rows that it wants to see."""

    kind: str
    kinds: tuple[str, ...]

    def take(self, event: Event) -> Sequence[Callable[[Look], Awaitable[Told | None]]]:
        """Remember the next row; return what it gives rise to, each told if its evidence is."""
        ...

    def remembered(self) -> Any:  # noqa: ANN401  any JSON value
        """Return what it remembers, bounded, for `recall`."""
        ...

    def recall(self, remembered: Any) -> None:  # noqa: ANN401  any JSON value
        """Go on where `remembered` was; None is the beginning.

        Raises:
            msgspec.ValidationError: another release wrote it.
        """
        ...


def told(made: Told, teller: Teller) -> Event:
    """Return the event: the same for the same ids that it is drawn from."""
    ms = milliseconds(made.anchor.occurred_at)
    digest = blake2b(_encode((made.kind, *made.drawn_from)), digest_size=_DIGEST_BYTES)
    cited = made.cited[:CITED]
    given = {
        "detail": made.detail,
        "events": " ".join(cited),
        "count": str(len(made.cited)),
        **made.facts,
    }
    record = Record(
        event_id=f"{ms:012x}{digest.hexdigest()}",
        occurred_at=made.anchor.occurred_at,
        category=CATEGORY,
        category_key=CATEGORY_KEY,
        action=teller.normalize.catalogue.kinds[made.kind].title,
        action_key=made.kind,
        actor=made.anchor.actor,
        objects=made.objects or made.anchor.objects,
        attributes=tuple(Attribute(name=name, value=text) for name, text in given.items()),
        address=made.anchor.address,
        node=made.anchor.node,
        system=made.anchor.system,
        original=NOTHING,
    )
    return teller.told(record)


def written(at: datetime) -> str:
    """Return a time as people read it."""
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
