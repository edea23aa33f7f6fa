"""What the server answers and is asked, beside `model.Status`; docs/status-api.md describes it."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from forwarder.errors import Reason
from forwarder.model import Severity

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A place, or a dead letter's id: what a database takes for one."""


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``/api/events`` may be asked for."""

    kind: str = ""
    severity: Literal[""] | Severity = ""
    text: str = ""
    before: Number | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One event as the page lists it."""

    place: int
    event_id: str
    time: str
    source: str
    kind: str
    severity: Severity
    action: str
    actor: str
    objects: tuple[str, ...]
    detail: tuple[str, ...]


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``/api/events``, newest place first; `before` asks for older ones, if any."""

    events: tuple[Found, ...]
    searched: int
    before: int | None


class PartHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One source or sink over the last day; the lists go together, oldest first.

    `at` is when each five minutes began, in epoch seconds. `events` were stored or sent in them,
    null where nobody counted; `backlog` and `lag_seconds` are the worst that were seen.
    """

    part: str
    at: tuple[int, ...]
    events: tuple[int | None, ...]
    backlog: tuple[int, ...]
    lag_seconds: tuple[float, ...]


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``/api/history``; `seconds` is what one sample stands for."""

    seconds: int
    parts: tuple[PartHistory, ...]


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter; `sink` is empty for a record that could not be read."""

    id: int
    source: str
    sink: str
    event_id: str
    reason: Reason
    detail: str
    attempts: int
    first_seen_at: datetime
    last_seen_at: datetime
    asked_at: datetime | None


class LetterCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead letters of a sink there are for one reason."""

    sink: str
    reason: str
    letters: int


class Letters(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``/api/dead-letters``: the oldest, and how many there are in all.

    `may_act` says whether this server takes replay and discard; without credentials it does not.
    """

    letters: tuple[Letter, ...]
    counts: tuple[LetterCount, ...]
    may_act: bool


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``/api/dead-letters/ID``: what the letter holds, as text."""

    id: int
    original: str
    is_whole: bool


class Ids(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What replay and discard are sent."""

    ids: Annotated[list[Number], msgspec.Meta(min_length=1, max_length=10_000)]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What replay and discard answer: how many letters, and lines for people about the rest."""

    letters: int
    said: tuple[str, ...] = ()
