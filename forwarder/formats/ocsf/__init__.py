"""`ocsf`: the Open Cybersecurity Schema Framework 1.9, each kind in the class that is meant for it.

https://schema.ocsf.io/1.9.0. classes.py has the classes, objects.py the objects of the schema;
docs/formats.md argues the choice for each kind.
"""

from typing import Any, Final

import msgspec

from forwarder.formats.gist import SEVERITIES, gist, product, succeeded
from forwarder.formats.meaning import meaning
from forwarder.formats.ocsf.classes import OTHER, Told, classify
from forwarder.formats.ocsf.objects import actor_of, device_of, endpoint_of
from forwarder.model import Event, Outgoing, Severity
from forwarder.times import milliseconds

VERSION: Final = "1.9.0"
"""Of the schema."""

_CATEGORIES: Final = {
    0: "Uncategorized",
    1: "System Activity",
    2: "Findings",
    3: "Identity & Access Management",
    6: "Application Activity",
}
_SEVERITIES: Final[dict[Severity, str]] = {
    "info": "Informational",
    "low": "Low",
    "medium": "Medium",
    "high": "High",
    "critical": "Critical",
}
_encode: Final = msgspec.json.Encoder().encode


class OcsfFormat:
    """One JSON object a line."""

    media_type = "application/json"

    def encode(self, event: Outgoing) -> bytes:
        """Return the event; what has no place in its class goes to `unmapped`."""
        event = event.whole()
        told = Told(event, gist(event), meaning(event.kind))
        chosen = classify(told)
        activity = chosen.activities.get(told.what.verb, OTHER)
        well = succeeded(told.what.verb)
        fields: dict[str, Any] = {
            "activity_id": activity.number,
            "activity_name": activity.name if activity is not OTHER else event.action or "Other",
            "category_name": _CATEGORIES[chosen.category],
            "category_uid": chosen.category,
            "class_name": chosen.name,
            "class_uid": chosen.uid,
            "message": told.about.message,
            "metadata": _metadata(event),
            "severity": _SEVERITIES[event.severity],
            "severity_id": SEVERITIES[event.severity],
            "status": "Unknown" if well is None else "Success" if well else "Failure",
            "status_id": 0 if well is None else 1 if well else 2,
            "time": milliseconds(event.occurred_at),
            "type_name": f"{chosen.name}: {activity.name}",
            "type_uid": chosen.uid * 100 + activity.number,
        }
        if actor := actor_of(event):
            fields["actor"] = actor
        if chosen.has_source and (endpoint := endpoint_of(event)):
            fields["src_endpoint"] = endpoint
        if device := device_of(event):
            fields["device"] = device
        if chosen.own:
            fields |= chosen.own(told)
        fields["unmapped"] = _unmapped(event)
        fields["raw_data"] = bytes(event.original).decode()
        return _encode(fields)


def _metadata(event: Event) -> dict[str, Any]:
    maker = product(event)
    return {
        "version": VERSION,
        "uid": event.event_id,
        "event_code": event.kind,
        "log_provider": "Bitbucket",
        "log_name": event.category or event.source,
        "product": {"name": maker.name, "vendor_name": maker.vendor},
        "profiles": ["host", "security_control"],
    }


def _unmapped(event: Event) -> dict[str, Any]:
    said = {
        "kind": event.kind,
        "source": event.source,
        "action": event.action,
        "action_key": event.action_key,
        "category": event.category,
        "category_key": event.category_key,
        "actor_type": event.actor.type if event.actor else None,
        "address": event.address,
        "method": event.method,
        "system": event.system,
        "objects": event.objects,
        "changes": event.changes,
        "attributes": event.attributes,
        "context": None if event.context is msgspec.UNSET else event.context,
    }
    return {name: value for name, value in said.items() if value}
