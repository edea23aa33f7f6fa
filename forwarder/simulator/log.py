"""The audit log itself: rows, sorted by (timestamp, id), and what a search finds in them. Pure."""

import heapq
import json
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from forwarder.simulator.clock import to_ms

SEARCHED_OBJECTS: Final = 5
"""Only the first five objects are searched (docs/bitbucket.md section 1, reported behaviour)."""


class Row(NamedTuple):
    """One stored event; compares by (at_ms, id), which no two rows share.

    `body` is the event's JSON as it is served, encoded once.
    """

    at_ms: int
    id: int
    body: bytes
    category: str
    action: str
    author_id: str
    objects: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a search asks for. Bounds are inclusive epoch milliseconds; empty filters ask nothing.

    `cursor` is the (timestamp, id) of the last row already returned. `objects` maps a type to its
    ids. `terms` are lower-case texts that must all occur. `scan_limit` is how many of the newest
    rows within the bounds are looked at; what is older is hidden without a word.
    """

    from_ms: int | None = None
    to_ms: int
    cursor: tuple[int, int] | None = None
    offset: int = 0
    limit: int = 200
    categories: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    objects: Mapping[str, frozenset[str]] = field(default_factory=dict)
    user_ids: frozenset[str] = frozenset()
    terms: tuple[bytes, ...] = ()
    scan_limit: int | None = None

    @property
    def filtered(self) -> bool:
        """Whether any row within the bounds can be left out."""
        return bool(self.categories or self.actions or self.objects or self.user_ids or self.terms)

    def matches(self, row: Row) -> bool:
        """Whether `row` passes every filter; bounds and cursor are not looked at."""
        if self.categories and row.category not in self.categories:
            return False
        if self.actions and row.action not in self.actions:
            return False
        if self.user_ids and row.author_id not in self.user_ids:
            return False
        if self.objects and not self._touches(row.objects[:SEARCHED_OBJECTS]):
            return False
        if not self.terms:
            return True
        text = row.body.lower()
        return all(term in text for term in self.terms)

    def _touches(self, objects: tuple[tuple[str, str], ...]) -> bool:
        """Whether for each type asked for, one object is among the ids: OR within, AND across."""
        return all(
            any(kind == wanted and id_ in ids for kind, id_ in objects)
            for wanted, ids in self.objects.items()
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, newest first, and whether older rows match too."""

    rows: list[Row]
    more: bool


class AuditLog:
    """Rows by (timestamp, id), oldest first; ids are given in the order of writing.

    A late row waits in `_waiting` until its true time has come, and only then gets its id: it
    turns up behind rows that were already read, as it does when a node's queue was slow.
    `tell` hears of each row (its body and its time) when it is written.
    """

    def __init__(self, tell: Callable[[bytes, int], None] | None = None) -> None:
        self.rows: list[Row] = []
        self._tell = tell
        self.forgotten = 0
        self.written = 0
        self._waiting: list[tuple[int, int, int, bytes]] = []
        self._arrivals = 0

    def write(self, body: bytes, at_ms: int) -> Row:
        """Store an event that is served as `body` and return its row."""
        self.written += 1
        row = Row(at_ms, self.written, body, *_index(body))
        if not self.rows or row > self.rows[-1]:
            self.rows.append(row)
        else:
            insort(self.rows, row)
        if self._tell:
            self._tell(body, at_ms)
        return row

    def write_late(self, body: bytes, at_ms: int, *, visible_at_ms: int) -> None:
        """Store an event that shows up only when `show` is called for `visible_at_ms`."""
        self._arrivals += 1
        heapq.heappush(self._waiting, (visible_at_ms, self._arrivals, at_ms, body))

    def show(self, true_ms: int) -> None:
        """Write every late row whose time has come."""
        while self._waiting and self._waiting[0][0] <= true_ms:
            _, _, at_ms, body = heapq.heappop(self._waiting)
            self.write(body, at_ms)

    @property
    def waiting(self) -> int:
        """How many late rows have not shown up yet."""
        return len(self._waiting)

    def forget(self, *, before_ms: int, keep: int) -> int:
        """Remove what is older than `before_ms`, and the oldest over `keep` rows; return how many.

        Retention as of docs/bitbucket.md section 4: by time, and over 10,000,000 rows.
        """
        cut = max(bisect_left(self.rows, (before_ms,)), len(self.rows) - keep)
        del self.rows[:cut]
        self.forgotten += cut
        return cut

    def find(self, query: Query) -> Found:
        """Return the newest `limit` rows that `query` asks for."""
        rows = self.rows
        low = 0 if query.from_ms is None else bisect_left(rows, (query.from_ms,))
        high = bisect_left(rows, (query.to_ms + 1,))
        if query.scan_limit is not None:
            low = max(low, high - query.scan_limit)
        if query.cursor is not None:
            high = min(high, bisect_left(rows, query.cursor))
        if not query.filtered:
            high -= query.offset
            start = max(low, high - query.limit)
            return Found(rows[start:high][::-1] if high > start else [], start > low)
        newest_first = map(rows.__getitem__, range(high - 1, low - 1, -1))
        matching = filter(query.matches, newest_first)
        found = list(islice(matching, query.offset, query.offset + query.limit + 1))
        return Found(found[: query.limit], len(found) > query.limit)

    def touching(self, objects: Mapping[str, frozenset[str]]) -> list[Row]:
        """Return every row with one of these objects anywhere among its own, newest first."""
        wanted = {(kind, id_) for kind, ids in objects.items() for id_ in ids}
        return [row for row in reversed(self.rows) if not wanted.isdisjoint(row.objects)]

    def matching(self, query: Query) -> Iterable[Row]:
        """Return every row that passes the filters of `query`, oldest first, whatever its time."""
        return filter(query.matches, self.rows)


def decoded(body: bytes) -> Any:  # noqa: ANN401  JSON of any shape
    """Return the JSON value in `body`, also where it is odd (lone surrogates, huge numbers).

    Raises:
        ValueError: it is no JSON at all.
    """
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return json.loads(body, parse_int=_integer)


def _integer(digits: str) -> int | str:
    """Return a number; as text where it is longer than Python wants to convert."""
    return digits if len(digits) > 4000 else int(digits)


class _Named(msgspec.Struct, frozen=True):
    category: str = ""
    action: str = ""


class _Author(msgspec.Struct, frozen=True):
    id: str = ""


class _Object(msgspec.Struct):
    type: str = ""
    id: str | None = None


class _Indexed(msgspec.Struct):
    type: _Named = _Named()
    author: _Author = _Author()
    affectedObjects: list[_Object] = []  # noqa: N815  the API's own name


_decoder = msgspec.json.Decoder(_Indexed)
_interned: dict[Any, Any] = {}


def _index(body: bytes) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
    """Return what can be filtered by; nothing, where the event has not the shape for it."""
    try:
        event = _decoder.decode(body)
    except (ValueError, RecursionError):
        return _loosely(body)
    objects = tuple((one.type, one.id or "") for one in event.affectedObjects)
    return (
        _shared(event.type.category),
        _shared(event.type.action),
        _shared(event.author.id),
        _shared(objects),
    )


def _loosely(body: bytes) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
    """Return the category and action of a misshapen event, so that filters still find it."""
    try:
        event = decoded(body)
    except (ValueError, RecursionError):
        return "", "", "", ()
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(kind, dict):
        return "", "", "", ()
    return str(kind.get("category") or ""), str(kind.get("action") or ""), "", ()


def _shared(value: Any) -> Any:  # noqa: ANN401  same type out as in
    """Return an equal value kept once: 200,000 rows share a few hundred."""
    if len(_interned) > 100_000:
        _interned.clear()
    return _interned.setdefault(value, value)


def event_ms(timestamp: object) -> int:
    """Return epoch milliseconds of a REST timestamp.

    Raises:
        ValueError: it is none.
    """
    at = datetime.fromisoformat(str(timestamp))
    if at.tzinfo is None:
        raise ValueError(f"a timestamp without a zone: {timestamp!r}")
    return to_ms(at)
