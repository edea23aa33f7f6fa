"""A record as an event; what the catalogue does not know keeps a name made from its action."""

import re
from functools import lru_cache

from forwarder.model import Event, Record
from forwarder.normalizers.catalogue import Recognised


def build(record: Record, recognised: Recognised, *, source: str) -> Event:
    """Return the event that says all that `record` says, as what it was recognised."""
    return Event(
        event_id=record.event_id,
        source=source,
        kind=recognised.kind,
        severity=recognised.severity,
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
        context=record.context,
        original=record.original,
    )


@lru_cache(maxsize=4096)
def unnamed(action: str) -> Recognised:
    """Return a name for an action of Bitbucket's own that the catalogue does not know.

    "Pull request merged" is of the kind ``bitbucket.pull_request_merged``.
    """
    words = re.sub(r"[^a-z0-9]+", "_", action.lower()).lstrip("_")
    return Recognised(f"bitbucket.{words[:64].rstrip('_') or 'unnamed'}", "info")
