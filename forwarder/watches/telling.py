"""Conditions as events: of a shape that every format knows, and of kinds that the catalogue has.

Pure. The original of such an event has the shape of Bitbucket's own, so that who parses those
(the format `raw`) can parse it too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from forwarder.model import Actor, AffectedObject, Attribute, Condition, Event, Record
from forwarder.normalizers import CatalogueNormalizer
from forwarder.redaction import Redactor
from forwarder.times import milliseconds, moment
from forwarder.watches import SOURCE
from forwarder.watches.findings import ENDS, HEARTBEAT, Found, Looked

CATEGORY: Final = "soteri-forwarder"
CATEGORY_KEY: Final = "forwarder.category"
NOTHING: Final = msgspec.Raw(b"{}")
"""The original of a record that is yet to be told."""
_DIGEST_BYTES: Final = 10
_ACTOR: Final = Actor(name="soteri-forwarder", type="SERVICE")
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Teller:
    """Makes events. `node` is the machine that the forwarder runs on."""

    normalize: CatalogueNormalizer
    node: str
    redact: Redactor | None = None

    def event(
        self,
        found: Found,
        *,
        part: str,
        at: datetime,
        since_at: datetime,
        facts: Mapping[str, str],
        system: str | None = None,
    ) -> Event:
        """Return the event that tells `found` of `part`; the same facts give the same id.

        `system` is the address of the Bitbucket that it is about.
        """
        ms = milliseconds(at)
        told = (found.kind, part, found.subject, milliseconds(since_at), self.node)
        digest = blake2b(_encode(told), digest_size=_DIGEST_BYTES).hexdigest()
        given = {"part": part, "detail": found.detail, **facts}
        objects = (found.about,) if found.about else ()
        if part.startswith("sources."):
            name = part.partition(".")[2]
            objects = (*objects, AffectedObject(type="SOURCE", name=name))
        record = Record(
            event_id=f"{ms:012x}{digest}",
            occurred_at=moment(ms),
            category=CATEGORY,
            category_key=CATEGORY_KEY,
            action=self.normalize.catalogue.kinds[found.kind].title,
            action_key=found.kind,
            actor=_ACTOR,
            objects=objects,
            changes=found.changes,
            attributes=tuple(Attribute(name=name, value=text) for name, text in given.items()),
            node=self.node,
            system=system,
            original=NOTHING,
        )
        return self.told(record)

    def told(self, record: Record) -> Event:
        """Return the event of a record of our own; its original is made here."""
        event = self.normalize(record, source=SOURCE)
        event = msgspec.structs.replace(event, original=original_of(record))
        return self.redact(event) if self.redact else event

    def heartbeat(self, facts: Mapping[str, str], at: datetime) -> Event:
        """Return a heartbeat with `facts`."""
        found = Found(kind=HEARTBEAT, detail="the forwarder runs")
        return self.event(found, part="forwarder", at=at, since_at=at, facts=facts)

    def changes(
        self,
        looked: Looked,
        known: Sequence[Condition],
        *,
        part: str,
        at: datetime,
        system: str | None,
    ) -> tuple[list[Event], tuple[Condition, ...]]:
        """Return what is to be told of `part`, and the conditions that hold from now on."""
        events: list[Event] = []
        holds = {(each.kind, each.subject): each for each in looked.holds}
        goes_on: list[Condition] = []
        for condition in known:
            found = holds.pop((condition.kind, condition.subject), None)
            if found or condition.kind not in looked.judged:
                said = found.detail if found else condition.detail
                goes_on.append(msgspec.structs.replace(condition, detail=said))
                continue
            events.append(self._end(condition, at, system))
        for found in holds.values():
            begun = Condition(
                kind=found.kind, part=part, subject=found.subject, since_at=at, detail=found.detail
            )
            goes_on.append(begun)
            facts = {"since": _written(at)}
            told = self.event(found, part=part, at=at, since_at=at, facts=facts, system=system)
            events.append(told)
        for found in looked.once:
            events.append(  # noqa: PERF401  a call of seven lines is no comprehension
                self.event(found, part=part, at=at, since_at=at, facts={}, system=system)
            )
        return events, tuple(goes_on)

    def _end(self, condition: Condition, at: datetime, system: str | None) -> Event:
        over = Found(
            kind=ENDS[condition.kind],
            subject=condition.subject,
            detail=f"over: {condition.detail}",
        )
        facts = {
            "since": _written(condition.since_at),
            "seconds": f"{(at - condition.since_at).total_seconds():.0f}",
        }
        since_at = condition.since_at
        return self.event(
            over, part=condition.part, at=at, since_at=since_at, facts=facts, system=system
        )


def original_of(record: Record) -> msgspec.Raw:
    """Return the record as Bitbucket's API would give it."""
    return msgspec.Raw(_encode(_rest(record)))


def _rest(record: Record) -> dict[str, Any]:
    said: dict[str, Any] = {
        "timestamp": _written(record.occurred_at),
        "author": record.actor,
        "type": {
            "categoryI18nKey": record.category_key,
            "category": record.category,
            "actionI18nKey": record.action_key,
            "action": record.action,
        },
        "affectedObjects": record.objects,
        "changedValues": record.changes,
        "source": record.address,
        "system": record.system,
        "node": record.node,
        "extraAttributes": record.attributes,
    }
    return {name: value for name, value in said.items() if value is not None}


def _written(at: datetime) -> str:
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
