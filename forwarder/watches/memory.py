"""What a watch remembers: kept in the outbox as a checkpoint, with the events that it makes. Pure.

So a condition is told once, whatever happens in between: what was told is stored with the telling.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from forwarder.model import AuditSettings, Checkpoint, Condition

_DAYS: Final = 30


class Silence(msgspec.Struct, frozen=True, omit_defaults=True):
    """When Soteri spoke last, and the longest pause in seconds that ended on each day."""

    spoke_at: datetime | None = None
    pauses: dict[str, float] = {}

    def heard(self, first_at: datetime | None, at: datetime | None) -> "Silence":
        """Return it with what was heard from `first_at` to `at`, if anything was."""
        if first_at is None or at is None or (self.spoke_at and at <= self.spoke_at):
            return self
        if self.spoke_at is None:
            return Silence(at)
        pause = max((first_at - self.spoke_at).total_seconds(), 0.0)
        day = f"{at:%Y-%m-%d}"
        since = f"{at - timedelta(days=_DAYS):%Y-%m-%d}"
        pauses = {known: seconds for known, seconds in self.pauses.items() if known > since}
        pauses[day] = max(pauses.get(day, 0.0), pause)
        return Silence(at, pauses)

    @property
    def longest(self) -> float:
        """Seconds of the longest pause that ended in the last 30 days."""
        return max(self.pauses.values(), default=0.0)


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of a watch: since when it looks, what it saw, and what is told and not over.

    `levels` are those of the audit coverage that were seen first; `app_version` is the last one of
    an app that was there; `kinds` are those that were ever seen.
    """

    began_at: datetime
    settings: AuditSettings | None = None
    levels: dict[str, str] = {}
    app_version: str | None = None
    kinds: tuple[str, ...] = ()
    silence: Silence = Silence()
    conditions: tuple[Condition, ...] = ()
    beat_at: datetime | None = None


def place(source: str = "") -> str:
    """Return the name under which the outbox keeps a watch's memory; no source can have it."""
    return f"forwarder.{source}" if source else "forwarder"


def recalled(checkpoint: Checkpoint | None) -> Memory | None:
    """Return what `kept` made, or None where nothing, or nothing legible, was kept."""
    if checkpoint is None:
        return None
    try:
        return msgspec.convert(checkpoint.extra, Memory)
    except msgspec.ValidationError:  # another release's: what it told may be told once more
        return None


def kept(memory: Memory, now: datetime) -> Checkpoint:
    """Return `memory` as a checkpoint."""
    extra: Mapping[str, Any] = msgspec.to_builtins(memory)
    return Checkpoint(now, extra)
