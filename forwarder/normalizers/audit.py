"""Bitbucket's own audit records: passed through under a name made from their action."""

import re
from functools import lru_cache

from forwarder.model import Event, Record, Severity


def normalize(record: Record, *, source: str) -> Event:
    """Return the event; "Repository created" is of the kind ``bitbucket.repository_created``."""
    return build(record, source=source, kind=f"bitbucket.{_slug(record.action)}", severity="info")


def build(record: Record, *, source: str, kind: str, severity: Severity) -> Event:
    """Return the event that says all that `record` says, under `kind`."""
    return Event(
        event_id=record.event_id,
        source=source,
        kind=kind,
        severity=severity,
        occurred_at=record.occurred_at,
        category=record.category,
        category_key=record.category_key,
        action=record.action,
        action_key=record.action_key,
        actor=record.actor,
        objects=record.objects,
        changes=record.changes,
        attributes=record.attributes,
        address=record.address,
        node=record.node,
        system=record.system,
        method=record.method,
        original=record.original,
    )


@lru_cache(maxsize=4096)
def _slug(action: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", action.lower()).lstrip("_")
    return words[:64].rstrip("_") or "unnamed"
