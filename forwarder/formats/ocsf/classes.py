"""The event classes of OCSF that events fall into, and what each of them alone requires. Pure."""

from collections.abc import Callable
from typing import Final, NamedTuple

from forwarder.formats.gist import Gist, detail
from forwarder.formats.meaning import Area, Meaning, Verb
from forwarder.formats.ocsf.objects import (
    Fields,
    actor_of,
    endpoint_of,
    resources_of,
    user_of,
)
from forwarder.model import AffectedObject, Event


class Told(NamedTuple):
    """An event, what it is about, and what was done."""

    event: Event
    about: Gist
    what: Meaning


class Activity(NamedTuple):
    """One of a class's activities."""

    number: int
    name: str


OTHER: Final = Activity(99, "Other")
"""What every class has for an activity that it does not know."""


class Class(NamedTuple):
    """One event class: `own` gives the fields that it alone has."""

    uid: int
    name: str
    activities: dict[Verb, Activity]
    own: Callable[[Told], Fields] | None = None
    has_source: bool = True

    @property
    def category(self) -> int:
        """Class numbers begin with their category's."""
        return self.uid // 1000


def classify(told: Told) -> Class:
    """Return the event's class; one that requires a user, a group or a resource only with it."""
    area, verb = told.what
    about = told.about
    if area == "correlation" or (area == "hook" and verb == "skipped"):
        return _DETECTION
    if area == "permission" and about.user:
        return _USER_ACCESS
    if area in {"permission", "group"} and about.group:
        return _GROUP
    if area == "user" and about.user:
        return _ACCOUNT
    if area == "content" and about.place:
        return _RESOURCES
    return _CLASSES.get(area, _BASE)


def _finding(told: Told) -> Fields:
    event, verb = told.event, told.what.verb
    info: Fields = {"uid": event.event_id, "title": event.action or event.kind}
    if rule := detail(event, "rule"):
        info["analytic"] = {"type_id": 1, "type": "Rule", "name": rule}
    fields: Fields = {"finding_info": info, "is_alert": told.what.area in {"hook", "correlation"}}
    if resources := resources_of(event):
        fields["resources"] = resources
    action, disposition = _DECISIONS.get(verb, _OBSERVED)
    fields["action_id"], fields["action"] = action
    fields["disposition_id"], fields["disposition"] = disposition
    # The finding's status, not the request's.
    reviewed = verb == "reviewed"
    fields["status_id"], fields["status"] = (3, "Suppressed") if reviewed else (1, "New")
    return fields


def _bypass(told: Told) -> Fields:
    evidence = {"actor": actor_of(told.event), "src_endpoint": endpoint_of(told.event)}
    known = {name: value for name, value in evidence.items() if value}
    return {**_finding(told), **({"evidences": [known]} if known else {})}


def _entity(told: Told) -> Fields:
    event = told.event
    last = event.objects[-1] if event.objects else AffectedObject()
    name = detail(event, "rule") or last.name or event.action or event.kind
    policy: Fields = {"name": name, "type": told.what.area}
    if last.id and last.name == name:
        policy["uid"] = last.id
    return {"entity": {"type_id": 5, "type": "Policy", "name": name, "policy": policy}}


def _access(told: Told) -> Fields:
    event = told.event
    changed = [text for one in event.changes if (text := one.to or one.from_)]
    fields: Fields = {"privileges": changed or [event.action or event.kind]}
    if resources := resources_of(event):
        fields["resources"] = resources
    return fields


def _user_access(told: Told) -> Fields:
    return _account(told) | _access(told)


def _group(told: Told) -> Fields:
    fields: Fields = {"group": user_of(told.about.group)}
    if told.about.user:
        fields["users"] = [user_of(told.about.user)]
    if told.what.area == "permission":
        fields |= _access(told)
    return fields


def _account(told: Told) -> Fields:
    return {"user": user_of(told.about.user)}


def _login(told: Told) -> Fields:
    user = actor_of(told.event).get("user") or user_of(told.about.user)
    return {"user": user, "service": {"name": "Bitbucket"}, "is_remote": True}


def _app(told: Told) -> Fields:
    event = told.event
    name = next((one.name for one in event.objects if one.name), None)
    name = name or detail(event, "target") or event.action or event.kind
    return {"application": {"name": name}}


def _forwarder(_told: Told) -> Fields:
    return {"application": {"name": "soteri-forwarder"}}


def _log(told: Told) -> Fields:
    provider = told.event.system or "Bitbucket"
    return {
        "log_name": "audit log",
        "log_provider": provider,
        "log_type_id": 2,
        "log_type": "Application",
    }


def _scan(told: Told) -> Fields:
    # Files are skipped by the hook's scans too, and an event may not say by whose.
    known = told.what.verb != "skipped"
    name = told.about.place or "instance"
    return {
        "scan": {
            "name": name,
            "type_id": 1 if known else 0,
            "type": "Manual" if known else "Unknown",
        }
    }


def _web(told: Told) -> Fields:
    return {"web_resources": resources_of(told.event)}


_Named = tuple[int, str]
_OBSERVED: Final[tuple[_Named, _Named]] = (3, "Observed"), (15, "Detected")
# action_id and disposition_id of the profile security_control.
_DECISIONS: Final[dict[Verb, tuple[_Named, _Named]]] = {
    "blocked": ((2, "Denied"), (2, "Blocked")),
    "skipped": ((1, "Allowed"), (1, "Allowed")),
    "warned": ((1, "Allowed"), (1, "Allowed")),
    "reviewed": ((3, "Observed"), (10, "Exonerated")),
}

_BASE: Final = Class(0, "Base Event", {}, has_source=False)
_DETECTION: Final = Class(
    uid=2004,
    name="Detection Finding",
    activities={"skipped": Activity(1, "Create"), "started": Activity(1, "Create")},
    own=_bypass,
    has_source=False,
)
_DATA_SECURITY: Final = Class(
    uid=2006,
    name="Data Security Finding",
    activities={
        "blocked": Activity(1, "Create"),
        "warned": Activity(1, "Create"),
        "reviewed": Activity(2, "Update"),
        "unreviewed": Activity(2, "Update"),
        "changed": Activity(2, "Update"),
    },
    own=_finding,
)
_ACCOUNT: Final = Class(
    uid=3007,
    name="User Management",
    activities={
        "created": Activity(1, "Create"),
        "added": Activity(1, "Create"),
        "changed": Activity(2, "Update"),
        "deleted": Activity(3, "Delete"),
        "removed": Activity(3, "Delete"),
        "enabled": Activity(4, "Enable"),
        "disabled": Activity(5, "Disable"),
    },
    own=_account,
)
_AUTHENTICATION: Final = Class(
    uid=3002,
    name="Authentication",
    activities={
        "succeeded": Activity(1, "Logon"),
        "failed": Activity(1, "Logon"),
        "ended": Activity(2, "Logoff"),
    },
    own=_login,
)
_ENTITY: Final = Class(
    uid=3004,
    name="Entity Management",
    activities={
        "created": Activity(1, "Create"),
        "added": Activity(1, "Create"),
        "read": Activity(2, "Read"),
        "searched": Activity(2, "Read"),
        "exported": Activity(2, "Read"),
        "changed": Activity(3, "Update"),
        "granted": Activity(3, "Update"),
        "revoked": Activity(3, "Update"),
        "deleted": Activity(4, "Delete"),
        "removed": Activity(4, "Delete"),
        "enabled": Activity(8, "Enable"),
        "disabled": Activity(9, "Disable"),
    },
    own=_entity,
)
_USER_ACCESS: Final = Class(
    uid=3007,
    name="User Management",
    activities={
        "granted": Activity(14, "Assign Privileges"),
        "added": Activity(14, "Assign Privileges"),
        "revoked": Activity(15, "Remove Privileges"),
        "removed": Activity(15, "Remove Privileges"),
        "deleted": Activity(15, "Remove Privileges"),
        "changed": Activity(2, "Update"),
    },
    own=_user_access,
)
_GROUP: Final = Class(
    uid=3006,
    name="Group Management",
    activities={
        "granted": Activity(1, "Assign Privileges"),
        "revoked": Activity(2, "Revoke Privileges"),
        "added": Activity(3, "Add User"),
        "removed": Activity(4, "Remove User"),
        "deleted": Activity(5, "Delete"),
        "created": Activity(6, "Create"),
        "changed": Activity(9, "Update"),
    },
    own=_group,
)
_RESOURCES: Final = Class(
    uid=6001,
    name="Web Resources Activity",
    activities={
        "created": Activity(1, "Create"),
        "added": Activity(1, "Create"),
        "read": Activity(2, "Read"),
        "changed": Activity(3, "Update"),
        "deleted": Activity(4, "Delete"),
        "removed": Activity(4, "Delete"),
        "searched": Activity(5, "Search"),
        "exported": Activity(7, "Export"),
    },
    own=_web,
)
_APP: Final = Class(
    uid=6002,
    name="Application Lifecycle",
    activities={
        "installed": Activity(1, "Install"),
        "uninstalled": Activity(2, "Remove"),
        "removed": Activity(2, "Remove"),
        "deleted": Activity(2, "Remove"),
        "enabled": Activity(6, "Enable"),
        "disabled": Activity(7, "Disable"),
        "changed": Activity(8, "Update"),
    },
    own=_app,
    has_source=False,
)
_FORWARDER: Final = Class(
    uid=6002,
    name="Application Lifecycle",
    activities={},
    own=_forwarder,
    has_source=False,
)
_SCAN: Final = Class(
    uid=6007,
    name="Scan Activity",
    activities={"started": Activity(1, "Started"), "finished": Activity(2, "Completed")},
    own=_scan,
    has_source=False,
)
_LOG: Final = Class(
    uid=1008,
    name="Event Log Activity",
    activities={
        "deleted": Activity(2, "Delete"),
        "exported": Activity(3, "Export"),
        "enabled": Activity(9, "Enable"),
        "disabled": Activity(10, "Disable"),
    },
    own=_log,
)
_CLASSES: Final[dict[Area, Class]] = {
    "hook": _DATA_SECURITY,
    "finding": _DATA_SECURITY,
    "rule": _ENTITY,
    "allowlist": _ENTITY,
    "config": _ENTITY,
    "credential": _ENTITY,
    "permission": _ENTITY,
    "user": _ENTITY,
    "group": _ENTITY,
    "authentication": _AUTHENTICATION,
    "audit": _LOG,
    "app": _APP,
    "scan": _SCAN,
    "forwarder": _FORWARDER,
}
