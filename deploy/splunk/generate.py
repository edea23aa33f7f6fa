"""Makes the parts of the add-on that follow from the forwarder: how fields and alerts are named.

    make generated

props.conf from where each format has what the Common Information Model asks for, the lookup of
kinds from the catalogue, savedsearches.conf from the detections, app.conf from the version.
"""

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from forwarder import __version__
from forwarder.detections import detections
from forwarder.formats.splunk_cim import SplunkCimFormat
from forwarder.model import Event
from forwarder.normalizers.catalogue import shipped
from forwarder.provision.splunk.alerts import name_of, saved_search
from forwarder.sinks.splunk_hec import SOURCETYPE

ADD_ON: Final = Path(__file__).parent / "TA-soteri-forwarder"
EVENTS: Final = "`soteri_forwarder_events`"
_MADE: Final = "# Made by deploy/splunk/generate.py of soteri-forwarder: change it in local/.\n"


class Fields(NamedTuple):
    """Where a format has it: an eval expression each; `objects` and `changes` are lists."""

    user: str
    user_id: str
    user_type: str
    src: str
    dvc: str
    system: str
    objects: str
    changes: str
    text: str


_REST: Final = {
    "user": "'author.name'",
    "user_id": "'author.id'",
    "user_type": "'author.type'",
    # `source` is Splunk's own field too.
    "src": 'spath(_raw, "source")',
    "dvc": "node",
    "system": "system",
    "objects": "affectedObjects{}",
    "changes": "changedValues{}",
}
JSON_FORMATS: Final[Mapping[str, Fields]] = {
    "json": Fields(
        user="'actor.name'",
        user_id="'actor.id'",
        user_type="'actor.type'",
        src="address",
        dvc="node",
        system="system",
        objects="objects{}",
        changes="changes{}",
        text="action",
    ),
    "raw": Fields(**_REST, text="'type.action'"),
    "audit_log": Fields(**_REST, text="'auditType.action'"),
    "ecs": Fields(
        user="'user.name'",
        user_id="'user.id'",
        user_type="'bitbucket.audit.author_type'",
        src="'source.address'",
        dvc="'service.node.name'",
        system="'service.address'",
        objects="bitbucket.audit.affected_objects{}",
        changes="bitbucket.audit.changed_values{}",
        text="'bitbucket.audit.type.action'",
    ),
    "ocsf": Fields(
        user="'actor.user.name'",
        user_id="'actor.user.uid'",
        user_type="'unmapped.actor_type'",
        src="'unmapped.address'",
        dvc="'device.uid'",
        system="'unmapped.system'",
        objects="unmapped.objects{}",
        changes="unmapped.changes{}",
        text="'unmapped.action'",
    ),
}
"""Formats whose fields Splunk finds by itself, under these names."""
_ONCE: Final = {"json": ("event_id", "kind", "severity")}
_SEVERITY: Final = "lower(mvindex(severity, 0))"

# Kinds that are made of what Bitbucket calls an action, and one that each stands for.
_OTHERS: Final[Mapping[str, str]] = {
    "bitbucket.*login_failed*": "bitbucket.user_login_failed",
    "bitbucket.*logged_in*": "bitbucket.user_logged_in",
    "bitbucket.*logout*": "bitbucket.user_logout",
    "bitbucket.*permission*": "bitbucket.global_permission_changed",
    "bitbucket.user_created*": "bitbucket.user_created",
    "bitbucket.user_deleted*": "bitbucket.user_deleted",
    "bitbucket.user_added_to*": "bitbucket.user_added_to_group",
    "bitbucket.user_removed_from*": "bitbucket.user_removed_from_group",
    "bitbucket.*created*": "bitbucket.repository_created",
    "bitbucket.*deleted*": "bitbucket.repository_deleted",
    "bitbucket.*added*": "bitbucket.branch_added",
    "bitbucket.*removed*": "bitbucket.branch_removed",
    "bitbucket.*changed*": "bitbucket.repository_changed",
    "bitbucket.*accessed*": "bitbucket.repository_accessed",
    "bitbucket.*export*": "bitbucket.full_data_export_triggered",
    "*": "other.unknown",
}
_COLUMNS: Final = ("kind", "cim_model", "action", "change_type", "status", "vendor_product")


def files() -> dict[str, str]:
    """Return what each generated file should hold, by its path in the add-on."""
    return {
        "default/app.conf": _app(),
        "app.manifest": _manifest(),
        "default/props.conf": _MADE + "\n".join(_props()),
        "default/savedsearches.conf": _MADE + "\n".join(_saved_searches()),
        "lookups/soteri_forwarder_kinds.csv": _kinds(),
    }


def _app() -> str:
    return f"""{_MADE}[install]
is_configured = false
build = 1

[ui]
is_visible = true
label = Soteri audit events

[launcher]
author = soteri-forwarder
description = Soteri Security for Bitbucket's audit events: fields, data models, alerts, a dashboard
version = {__version__}

[package]
id = {ADD_ON.name}
check_for_updates = false

[id]
name = {ADD_ON.name}
version = {__version__}
"""


def _manifest() -> str:
    manifest = {
        "schemaVersion": "2.0.0",
        "info": {
            "title": "Soteri audit events",
            "id": {"group": None, "name": ADD_ON.name, "version": __version__},
            "author": [{"name": "soteri-forwarder", "email": None, "company": None}],
            "description": "Soteri Security for Bitbucket's audit events, in Splunk's own words",
            "classification": {
                "intendedAudience": "Security, Fraud & Compliance",
                "categories": ["Security, Fraud & Compliance"],
                "developmentStatus": "Production/Stable",
            },
            "commonInformationModels": {"Change": "=6.0", "Authentication": "=6.0"},
        },
        "dependencies": None,
        "tasks": None,
        "inputGroups": None,
        "incompatibleApps": None,
        "platformRequirements": None,
        "supportedDeployments": ["_standalone", "_distributed", "_search_head_clustering"],
        "targetWorkloads": ["_search_heads"],
    }
    return json.dumps(manifest, indent=2) + "\n"


def _props() -> Iterator[str]:
    for name, fields in JSON_FORMATS.items():
        yield f"\n[{_sourcetype(name)}]"
        yield "KV_MODE = json"
        yield from _lines(*_ONCE.get(name, ()))
        if name == "ocsf":
            yield f'EVAL-severity = if({_SEVERITY}="informational", "info", {_SEVERITY})'
        yield from _of_the_log(fields)
        if name == "json":
            # Detections search for words of `action`, data models for theirs: it has both.
            yield f"EVAL-action = mvappend(action, {_action()})"
        yield from _looked_up(action=name != "json")
    yield f"\n[{_sourcetype('splunk_cim')}]"
    yield "KV_MODE = json"
    yield from _lines("event_id", "kind")
    informational = 'isnotnull(mvfind(severity, "^info"))'
    yield f'EVAL-severity = if({informational}, "informational", mvindex(severity, 0))'
    yield "LOOKUP-soteri_forwarder_kinds = soteri_forwarder_kinds kind OUTPUT cim_model"
    yield from _cef()
    yield from _leef()
    yield ""


def _lines(*once: str) -> Iterator[str]:
    """Yield how lines are cut, and what makes one value of two.

    `event_id`, `kind` and `severity` are indexed fields whatever the format; one that is in the
    event too has two values.
    """
    yield "SHOULD_LINEMERGE = false"
    yield r"LINE_BREAKER = ([\r\n]+)"
    yield "TRUNCATE = 5000000"
    yield from (f"EVAL-{name} = mvindex({name}, 0)" for name in once)


def _of_the_log(fields: Fields) -> Iterator[str]:
    yield 'EVAL-app = "bitbucket"'
    yield f"EVAL-user = {fields.user}"
    yield f"EVAL-user_id = {fields.user_id}"
    yield f"EVAL-user_type = {fields.user_type}"
    yield f"EVAL-src = {fields.src}"
    yield f"EVAL-dvc = {fields.dvc}"
    yield f"EVAL-dest = {_host(fields.system)}"
    yield from _of_the_objects(fields.objects, fields.changes)
    yield f"EVAL-command = {fields.text}"
    yield f"EVAL-result = {fields.text}"
    yield f"EVAL-signature = {fields.text}"
    yield "EVAL-signature_id = mvindex(kind, 0)"


def _of_the_objects(objects: str, changes: str) -> Iterator[str]:
    yield f"EVAL-object = mvindex('{objects}.name', -1)"
    yield f"EVAL-object_id = mvindex('{objects}.id', -1)"
    yield f"EVAL-object_category = lower(mvindex('{objects}.type', -1))"
    yield f"EVAL-object_path = mvjoin('{objects}.name', \"/\")"
    yield f"EVAL-object_attrs = mvjoin('{changes}.key', \", \")"
    yield f"EVAL-old_value = mvjoin('{changes}.from', \"; \")"
    yield f"EVAL-new_value = mvjoin('{changes}.to', \"; \")"


def _host(system: str) -> str:
    return rf'replace({system}, "^[a-z]+://(?:[^/@]*@)?([^/:]+).*$", "\1")'


def _looked_up(*, action: bool = True) -> Iterator[str]:
    given = f"cim_model {'action ' if action else ''}change_type status vendor_product"
    yield f"LOOKUP-soteri_forwarder_kinds = soteri_forwarder_kinds kind OUTPUT {given}"


def _action() -> str:
    """Return the expression that says what the lookup says of a kind's `action`."""
    by_action: dict[str, list[str]] = {}
    for kind in shipped():
        by_action.setdefault(_meaning(kind)[1], []).append(kind)
    cases = [
        f"""in(mvindex(kind, 0), {", ".join(f'"{kind}"' for kind in kinds)}), "{action}\""""
        for action, kinds in by_action.items()
    ]
    for pattern, kind in _OTHERS.items():
        like = pattern.replace("*", "%")
        cases.append(f'like(mvindex(kind, 0), "{like}"), "{_meaning(kind)[1]}"')
    return f"case({', '.join(cases)})"


def _cef() -> Iterator[str]:
    def plain(name: str) -> str:
        return rf'replace({name}, "\\\\([\\\\=])", "\1")'

    yield f"\n[{_sourcetype('cef')}]"
    yield "KV_MODE = none"
    yield from _lines()
    yield "REPORT-soteri_forwarder_cef = soteri_forwarder_cef_header, soteri_forwarder_cef_fields"
    yield 'EVAL-app = "bitbucket"'
    for name, key in (
        ("user", "suser"),
        ("user_id", "suid"),
        ("command", "act"),
        ("result", "act"),
        ("signature", "act"),
        ("description", "msg"),
        ("dvc", "deviceExternalId"),
        ("dest", "dvchost"),
    ):
        yield f"EVAL-{name} = {plain(key)}"
    yield f"EVAL-src = coalesce(src, c6a2, {plain('shost')})"
    yield "EVAL-signature_id = mvindex(kind, 0)"
    yield from _in_text(plain("cs4"), plain("cs5"))
    yield from _looked_up()


def _leef() -> Iterator[str]:
    yield f"\n[{_sourcetype('leef')}]"
    yield "KV_MODE = none"
    yield from _lines()
    yield (
        "REPORT-soteri_forwarder_leef = soteri_forwarder_leef_header, soteri_forwarder_leef_fields"
    )
    yield 'EVAL-app = "bitbucket"'
    for name, key in (
        ("user", "usrName"),
        ("user_id", "userId"),
        ("command", "action"),
        ("result", "action"),
        ("signature", "action"),
        ("description", "msg"),
        ("dvc", "node"),
        ("dest", "identHostName"),
    ):
        yield f"EVAL-{name} = {key}"
    yield "EVAL-signature_id = mvindex(kind, 0)"
    yield from _in_text("objects", "changes")
    yield from _looked_up()


def _in_text(objects: str, changes: str) -> Iterator[str]:
    """Yield the same of lists that are JSON inside of text."""
    yield f'EVAL-object = mvindex(spath({objects}, "{{}}.name"), -1)'
    yield f'EVAL-object_id = mvindex(spath({objects}, "{{}}.id"), -1)'
    yield f'EVAL-object_category = lower(mvindex(spath({objects}, "{{}}.type"), -1))'
    yield f'EVAL-object_path = mvjoin(spath({objects}, "{{}}.name"), "/")'
    yield f'EVAL-object_attrs = mvjoin(spath({changes}, "{{}}.key"), ", ")'
    yield f'EVAL-old_value = mvjoin(spath({changes}, "{{}}.from"), "; ")'
    yield f'EVAL-new_value = mvjoin(spath({changes}, "{{}}.to"), "; ")'


def _sourcetype(name: str) -> str:
    return SOURCETYPE if name == "json" else f"{SOURCETYPE}:{name}"


def _saved_searches() -> Iterator[str]:
    """Yield the alerts, switched off, and telling nobody: an add-on knows no address."""
    names = {  # as savedsearches.conf has what the REST endpoint calls so
        "is_scheduled": "enableSched",
        "alert_type": "counttype",
        "alert_comparator": "relation",
        "alert_threshold": "quantity",
    }
    for detection in detections():
        alert = saved_search(detection, events=EVENTS) | {"disabled": "1"}
        yield f"\n[{name_of(detection)}]"
        yield from (f"{names.get(name, name)} = {value}" for name, value in alert.items())
    yield ""


def _kinds() -> str:
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for kind in shipped():
        rows.writerow((kind, *_meaning(kind)))
    for pattern, kind in _OTHERS.items():
        rows.writerow((pattern, *_meaning(kind)))
    return written.getvalue()


def _meaning(kind: str) -> tuple[str, ...]:
    """Return what the format splunk_cim says of a kind, so that all formats say the same."""
    event = Event(
        event_id="0" * 32,
        source="",
        kind=kind,
        severity="info",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        category="",
        category_key="",
        action="",
        action_key="",
        actor=None,
        objects=(),
        changes=(),
        attributes=(),
        address=None,
        node=None,
        system=None,
        method=None,
        original=b"{}",  # type: ignore[arg-type]
    )
    said = json.loads(SplunkCimFormat().encode(event))  # type: ignore[arg-type]
    action = said["action"]
    if said["object_category"] == "authentication":
        model = "authentication"
    elif action in ("allowed", "blocked"):
        model = "alert"
    else:
        model = "" if action == "unknown" else "change"
    told = (said.get(name, "") for name in ("change_type", "status", "vendor_product"))
    return (model, action, *told)


if __name__ == "__main__":
    for name, text in files().items():
        (ADD_ON / name).write_text(text, "utf-8")
    sys.stdout.write(f"{ADD_ON} is current.\n")
