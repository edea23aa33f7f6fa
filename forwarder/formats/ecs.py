"""`ecs`: the Elastic Common Schema 9.4.

What ECS has no field for goes below ``bitbucket.audit``, under the names that Elastic's own
Bitbucket integration uses, so that its dashboards and rules hold.
"""

from typing import Any, Final

import msgspec

from forwarder.formats.gist import (
    SEVERITIES,
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
from forwarder.model import Event, Outgoing

VERSION: Final = "9.4.0"
"""Of the schema."""

# https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-category, where each category
# also names the types that go with it. What fits none has none: ECS asks not to guess.
_CATEGORIES: Final[dict[Area, str]] = {
    "hook": "intrusion_detection",
    "rule": "configuration",
    "finding": "vulnerability",
    "allowlist": "configuration",
    "config": "configuration",
    "scan": "vulnerability",
    "permission": "iam",
    "authentication": "authentication",
    "user": "iam",
    "group": "iam",
    "credential": "iam",
    "app": "package",
    "audit": "configuration",
    "content": "configuration",
    "correlation": "intrusion_detection",
    "forwarder": "process",
}
_CHANGES: Final[dict[Verb, str]] = {
    "created": "creation",
    "added": "creation",
    "deleted": "deletion",
    "removed": "deletion",
    "changed": "change",
    "enabled": "change",
    "disabled": "change",
    "granted": "change",
    "revoked": "change",
    "read": "access",
    "exported": "access",
    "searched": "access",
}
_HOOK: Final[dict[Verb, str]] = {"skipped": "allowed", "warned": "allowed", "blocked": "denied"}
_APP: Final[dict[Verb, str]] = {
    "installed": "installation",
    "uninstalled": "deletion",
    "removed": "deletion",
    "deleted": "deletion",
    "enabled": "change",
    "disabled": "change",
    "changed": "change",
}
_SESSION: Final[dict[Verb, str]] = {"succeeded": "start", "failed": "start", "ended": "end"}
_encode: Final = msgspec.json.Encoder().encode


class EcsFormat:
    """One JSON object a line, nested; empty fields are left out."""

    media_type = "application/json"

    def encode(self, event: Outgoing) -> bytes:
        """Return the document."""
        event = event.whole()
        what, about = meaning(event.kind), gist(event)
        maker = product(event)
        document: dict[str, Any] = {
            "@timestamp": event.occurred_at,
            "ecs": {"version": VERSION},
            "message": about.message,
            "event": _event(event, what),
            "log": {"level": event.severity},
            "observer": {"vendor": maker.vendor, "product": maker.name, "type": "application"},
            "service": _service(event),
            "related": _related(event, about),
            "labels": _labels(event, about),
            "bitbucket": {"audit": _audit(event)},
            "soteri": {"kind": event.kind, "source": event.source},
        }
        if user := _user(event, about):
            document["user"] = user
        if event.address:
            document["source"] = {"address": event.address}
            if found := addresses(event.address):
                document["source"]["ip"] = found[0]
        if about.group:
            document["group"] = _given(name=about.group.name, id=about.group.id)
        if rule := detail(event, "rule"):
            document["rule"] = {"name": rule, "category": event.category, "author": [maker.vendor]}
        return _encode({name: value for name, value in document.items() if value})


def categorize(kind: str) -> dict[str, Any]:
    """Return event.kind, and event.category, event.type and event.outcome where there are any."""
    what = meaning(kind)
    found: dict[str, Any] = {"kind": "alert" if what.area in {"hook", "correlation"} else "event"}
    if category := _CATEGORIES.get(what.area):
        found["category"] = [category]
    found["type"] = _types(what)
    if said := outcome(what.verb):
        found["outcome"] = said
    return found


def _types(what: Meaning) -> list[str]:
    area, verb = what
    if area in {"finding", "scan", "correlation", "forwarder", "other"}:
        return ["info"]
    if area == "hook":
        return [_HOOK.get(verb, "info")]
    if area == "app":
        return [_APP.get(verb, "info")]
    if area == "authentication":
        return [_SESSION.get(verb, "info")]
    found = [_CHANGES.get(verb, "info")]
    if area in {"permission", "user", "group", "credential"}:
        # iam has no type "access"; it wants to be told whose administration it was.
        found = ["info" if found == ["access"] else found[0]]
        found.append({"user": "user", "group": "group"}.get(area, "admin"))
    return found


def _event(event: Event, what: Meaning) -> dict[str, Any]:
    said = {
        "id": event.event_id,
        **categorize(event.kind),
        "action": event.kind,
        "code": event.action_key,
        "module": "bitbucket",
        "dataset": "bitbucket.audit",
        "provider": product(event).full_name,
        "severity": SEVERITIES[event.severity],
        "reason": event.action if what.area == "hook" else None,
        "url": context_of(event).link,
        "original": bytes(event.original).decode(),
    }
    return {name: value for name, value in said.items() if value}


def _user(event: Event, about: Gist) -> dict[str, Any]:
    user: dict[str, Any] = {}
    if event.actor:
        full_name = context_of(event).actor_name
        user = _given(name=event.actor.name, id=event.actor.id, full_name=full_name)
    if about.user:
        user["target"] = _given(name=about.user.name, id=about.user.id)
    return user


def _service(event: Event) -> dict[str, Any]:
    service: dict[str, Any] = {"name": "bitbucket", "type": "bitbucket"}
    if event.system:
        service["address"] = event.system
    if event.node:
        service["node"] = {"name": event.node}
    return service


def _labels(event: Event, about: Gist) -> dict[str, str]:
    looked_up = context_of(event)
    return _given(
        project=about.project,
        repository=about.repository,
        project_name=looked_up.project_name,
        repository_name=looked_up.repository_name,
    )


def _related(event: Event, about: Gist) -> dict[str, Any]:
    names = [event.actor.name if event.actor else None, about.user.name if about.user else None]
    host = host_of(event.system)
    return {
        name: values
        for name, values in (
            ("ip", list(dict.fromkeys(addresses(event.address)))),
            ("user", list(dict.fromkeys(filter(None, names)))),
            ("hosts", [host] if host else []),
        )
        if values
    }


def _audit(event: Event) -> dict[str, Any]:
    said = {
        "type": _given(
            action=event.action,
            actionI18nKey=event.action_key,
            category=event.category,
            categoryI18nKey=event.category_key,
        ),
        "method": event.method,
        "affected_objects": event.objects,
        "changed_values": event.changes,
        "extra_attributes": event.attributes,
        "author_type": event.actor.type if event.actor else None,
    }
    return {name: value for name, value in said.items() if value}


def _given(**texts: str | None) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text}
