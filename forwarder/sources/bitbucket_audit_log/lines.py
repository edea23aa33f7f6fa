"""From a line of an audit log file to the record, with the id, that REST gives. Pure.

A node writes `auditType` where REST says `type` (with `area` and `level` beside it), the time in
seconds and nanoseconds, and `extraAttributes` in any order. None of that makes it another event.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from forwarder import times
from forwarder.model import Actor, AffectedObject, Attribute, Change, Record, Unreadable
from forwarder.sources.bitbucket_audit import instants, lenient, wire
from forwarder.sources.bitbucket_audit.selection import SEARCH_ACTION
from forwarder.sources.bitbucket_audit.shapes import AuditType, Entity


class _Instant(msgspec.Struct, frozen=True, rename="camel"):
    epoch_second: int
    nano: int = 0


class _Line(msgspec.Struct, frozen=True, rename="camel"):
    timestamp: _Instant
    author: Actor | None = None
    audit_type: AuditType | None = None
    affected_objects: tuple[AffectedObject, ...] | None = None
    changed_values: tuple[Change, ...] | None = None
    extra_attributes: tuple[Attribute, ...] | None = None
    source: str | None = None
    node: str | None = None
    system: str | None = None
    method: str | None = None


_line: Final = msgspec.json.Decoder(_Line).decode
_NO_TYPE: Final = AuditType()


class Reading:
    """What is read out of lines: categories and actions by display text, none asking for all.

    The searches of `account` (the forwarder's own, where another source asks the API) are left
    out. Ids are made in `namespace`.
    """

    def __init__(
        self,
        *,
        categories: Iterable[str],
        actions: Iterable[str],
        namespace: str,
        account: str | None,
    ) -> None:
        self._categories = frozenset(categories)
        self._actions = frozenset(actions)
        self._namespace = namespace
        self._account = account.casefold() if account else None

    def record(self, line: bytes) -> Record | Unreadable | None:
        """Return what a line tells, None where that is not wanted; never raises.

        The id is that of the first among equals. `line` has no line end.
        """
        found = self._read(line)
        if isinstance(found, Unreadable):
            return found
        ms, entity, original = found
        return self._record(ms, entity, original) if self._wants(entity) else None

    def decode(self, line: bytes) -> Record | Unreadable:
        """Return the same, wanted or not."""
        found = self._read(line)
        return found if isinstance(found, Unreadable) else self._record(*found)

    @staticmethod
    def _read(line: bytes) -> tuple[int, Entity, msgspec.Raw] | Unreadable:
        try:
            line.decode()  # msgspec does not look at the bytes of strings that it skips
            found = _line(line)
            at, entity, original = _time(found.timestamp), _entity(found), msgspec.Raw(line)
        except (ValueError, OverflowError, RecursionError):  # msgspec's own are ValueErrors
            try:
                text = line.decode(errors="replace")
                entity = _leniently(text)
                at = times.milliseconds(instants.parse(entity.timestamp))
                original = wire.kept(line, text)
            except (ValueError, OverflowError, RecursionError) as error:
                return Unreadable(line, f"{type(error).__name__}: {error}"[:500])
        return at, entity, original

    def _wants(self, entity: Entity) -> bool:
        told = entity.type or _NO_TYPE
        if self._categories and told.category not in self._categories:
            return False
        if self._actions and told.action not in self._actions:
            return False
        name = entity.author.name if entity.author else None
        own = told.action_i18n_key == SEARCH_ACTION and name and name.casefold() == self._account
        return not own

    def _record(self, ms: int, entity: Entity, original: msgspec.Raw) -> Record:
        return wire.record_of(entity, original, self._namespace, times.moment(ms))


def _time(at: _Instant) -> int:
    """Return the millisecond: that is what Bitbucket's database keeps, and so what REST shows."""
    ms = at.epoch_second * 1000 + at.nano // 1_000_000
    if not instants.EARLIEST <= ms <= instants.LATEST:
        raise OverflowError("its time is outside of the years 1 to 9999")
    return ms


def _entity(line: _Line) -> Entity:
    return Entity(
        timestamp="",
        author=line.author,
        type=line.audit_type,
        affected_objects=line.affected_objects,
        changed_values=line.changed_values,
        extra_attributes=line.extra_attributes,
        source=line.source,
        node=line.node,
        system=line.system,
        method=line.method,
    )


def _leniently(text: str) -> Entity:
    """Return what a line tells that is no strict JSON, or has other shapes than documented."""
    number = lenient.Number
    found: Any = json.loads(
        text, strict=False, parse_int=number, parse_float=number, parse_constant=number
    )
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  all that ends here is unreadable
    at = found.get("timestamp")
    if isinstance(at, dict):
        ms = _time(_Instant(int(float(at.get("epochSecond", ""))), int(float(at.get("nano") or 0))))
        found["timestamp"] = times.moment(ms).isoformat()
    elif isinstance(at, number):  # epoch milliseconds, as in Bitbucket's older APIs
        found["timestamp"] = times.moment(int(at)).isoformat()
    found["type"] = found.pop("auditType", None)
    return lenient.entity(json.dumps(found))
