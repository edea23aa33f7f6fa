"""`splunk_cim`: flat JSON under the names of Splunk's Common Information Model.

Fields and values are those of the data models Change and Authentication (Splunk, "Common
Information Model Add-on Manual", 6.0), with those of Alerts where the security hook speaks.
"""

from typing import Final

import msgspec

from forwarder.formats.gist import (
    Gist,
    addresses,
    context_of,
    detail,
    gist,
    host_of,
    outcome,
    product,
)
from forwarder.formats.meaning import Area, Meaning, Verb, meaning
from forwarder.model import Event, Outgoing, Severity

_SEVERITIES: Final[dict[Severity, str]] = {
    "info": "informational",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "critical": "critical",
}
# The values that Change prescribes, and allowed and blocked for what the hook decided.
_ACTIONS: Final[dict[Verb, str]] = {
    "skipped": "allowed",
    "warned": "allowed",
    "blocked": "blocked",
    "reviewed": "modified",
    "unreviewed": "modified",
    "granted": "acl_modified",
    "revoked": "acl_modified",
    "installed": "created",
    "uninstalled": "deleted",
    "enabled": "modified",
    "disabled": "modified",
    "started": "started",
    "finished": "stopped",
    "ended": "stopped",
    "exported": "read",
    "searched": "read",
    "added": "created",
    "removed": "deleted",
    "created": "created",
    "deleted": "deleted",
    "changed": "modified",
    "read": "read",
}
_ACCOUNTS: Final[frozenset[Area]] = frozenset({"permission", "user", "group", "credential"})
_encode: Final = msgspec.json.Encoder().encode


class SplunkCimFormat:
    """One flat JSON object a line: every value is text, so no field is called ``name{}``."""

    media_type = "application/json"

    def encode(self, event: Outgoing) -> bytes:
        """Return the fields; what the event does not say is left out."""
        event = event.whole()
        what, about = meaning(event.kind), gist(event)
        fields = {
            "time": event.occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event_id": event.event_id,
            "kind": event.kind,
            "vendor_product": product(event).full_name,
            "app": "bitbucket",
            "signature": event.action,
            "signature_id": event.kind,
            "severity": _SEVERITIES[event.severity],
            "category": event.category,
            "status": outcome(what.verb),
            "src": event.address,
            "src_ip": (addresses(event.address) or (None,))[0],
            "dest": host_of(event.system),
            "dvc": event.node,
            "project": about.project,
            "repository": about.repository,
            "rule": detail(event, "rule"),
            "description": about.message,
            "user_name": context_of(event).actor_name,
            "url": context_of(event).link,
            **(_login(event, what) if what.area == "authentication" else _change(event, what)),
            **_objects(event, about, what),
            "method": event.method,
            "attributes": _encode(event.attributes).decode() if event.attributes else None,
            "source_name": event.source,
        }
        return _encode({name: value for name, value in fields.items() if value})


def _login(event: Event, what: Meaning) -> dict[str, str | None]:
    return {
        "action": "failure" if what.verb == "failed" else "success",
        "user": event.actor.name if event.actor else None,
        "user_id": event.actor.id if event.actor else None,
        "user_type": event.actor.type if event.actor else None,
        "authentication_method": event.method,
        "reason": event.action if what.verb == "failed" else None,
    }


def _change(event: Event, what: Meaning) -> dict[str, str | None]:
    before = [f"{one.key}={one.from_}" for one in event.changes if one.from_ is not None]
    after = [f"{one.key}={one.to}" for one in event.changes if one.to is not None]
    return {
        "action": _action(what),
        "change_type": "AAA" if what.area in _ACCOUNTS else what.area,
        "command": event.action,
        "user": event.actor.name if event.actor else None,
        "user_id": event.actor.id if event.actor else None,
        "user_type": event.actor.type if event.actor else None,
        "object_attrs": ", ".join(one.key for one in event.changes if one.key),
        "old_value": "; ".join(before),
        "new_value": "; ".join(after),
        "result": event.action,
    }


def _action(what: Meaning) -> str:
    if what.area == "permission":
        return "acl_modified"
    if what.verb == "skipped" and what.area != "hook":
        return "unknown"  # nobody allowed files that a scan left out
    return _ACTIONS.get(what.verb, "unknown")


def _objects(event: Event, about: Gist, what: Meaning) -> dict[str, str | None]:
    if what.area == "authentication" or not event.objects:
        return {"object_category": what.area}
    # The model has room for one object: who is meant where accounts change, else the innermost.
    last = event.objects[-1]
    one = (about.user or about.group or last) if what.area in _ACCOUNTS else last
    return {
        "object": one.name,
        "object_id": one.id,
        "object_category": one.type.lower() if one.type else what.area,
        "object_path": about.place,
    }
