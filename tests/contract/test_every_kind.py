"""What each documented kind means in each format: chosen by people, row by row."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from forwarder.formats import FORMATS
from forwarder.model import AffectedObject, Attribute, Change, Event
from forwarder.normalizers.catalogue import shipped
from tests.fakes.normalized import normalize
from tests.fakes.records import record
from tests.receivers import cef, leef

# As Soteri might word it (only the first text is public), then kind and severity; then ECS:
# category, types, outcome; OCSF: class, activity, status; CEF: outcome; LEEF: category;
# Splunk: action, change_type.
MEANINGS = """
Security hook skipped               hook.skipped            high     intrusion_detection allowed success          2004 1 New        success hook       allowed      hook
Push blocked by security hook       hook.blocked            medium   intrusion_detection denied failure           2006 1 New        failure hook       blocked      hook
Security hook warned about push     hook.warned             high     intrusion_detection allowed success          2006 1 New        success hook       allowed      hook
Global hook mode changed            hook.mode_changed       high     configuration change success                 3004 3 Success    success config     modified     config
Global hook status changed          hook.status_changed     high     configuration change success                 3004 3 Success    success config     modified     config
Global hook settings changed        hook.settings_changed   high     configuration change success                 3004 3 Success    success config     modified     config
Built-in rule toggled               rule.builtin_toggled    medium   configuration change success                 3004 3 Success    success rule       modified     rule
Custom rule created                 rule.custom_created     low      configuration creation success               3004 1 Success    success rule       created      rule
Custom rule deleted                 rule.custom_deleted     medium   configuration deletion success               3004 4 Success    success rule       deleted      rule
Custom rule changed                 rule.custom_changed     medium   configuration change success                 3004 3 Success    success rule       modified     rule
Custom rule toggled                 rule.custom_toggled     medium   configuration change success                 3004 3 Success    success rule       modified     rule
Per-repository settings toggled     config.repository_settings_toggled medium configuration change success        3004 3 Success    success config     modified     config
soteri-security.yml changed         config.repository_changed medium configuration change success                 3004 3 Success    success config     modified     config
Global settings changed             config.global_changed   medium   configuration change success                 3004 3 Success    success config     modified     config
Access granted to global settings   access.granted          high     iam change,admin success                     3007 14 Success   success permission acl_modified AAA
Access to global settings revoked   access.revoked          medium   iam change,admin success                     3007 15 Success   success permission acl_modified AAA
Global settings access changed      access.changed          high     iam change,admin success                     3007 2 Success    success permission acl_modified AAA
Finding marked as reviewed          finding.reviewed        medium   vulnerability info success                   2006 2 Suppressed success finding    modified     finding
Finding unmarked as reviewed        finding.unreviewed      low      vulnerability info success                   2006 2 New        success finding    modified     finding
Global false positive added         allowlist.added         high     configuration creation success               3004 1 Success    success allowlist  created      allowlist
Global false positive deleted       allowlist.removed       low      configuration deletion success               3004 4 Success    success allowlist  deleted      allowlist
Manual scan started                 scan.started            info     vulnerability info success                   6007 1 Success    success scan       started      scan
Files skipped in scan               scan.files_skipped      low      vulnerability info success                   6007 99 Success   success scan       unknown      scan
The moon is full                    soteri.unknown          medium   - info -                                     0 99 Unknown      -       other      unknown      other
"""  # noqa: E501  a table is read by its columns


class Row(NamedTuple):
    wording: str
    kind: str
    severity: str
    category: str
    types: str
    outcome: str
    class_uid: str
    activity: str
    status: str
    cef_outcome: str
    leef_category: str
    action: str
    change_type: str


ROWS = [Row(line[:36].strip(), *line[36:].split()) for line in MEANINGS.strip().splitlines()]
DOCUMENTED = {
    kind for kind in shipped() if not kind.startswith(("bitbucket.", "forwarder.", "correlation."))
}
# As each schema counts gravity.
SEVERITIES = {
    "info": (1, 1, 1, 1, "informational"),
    "low": (2, 2, 3, 3, "low"),
    "medium": (3, 3, 5, 5, "medium"),
    "high": (4, 4, 8, 8, "high"),
    "critical": (5, 5, 10, 10, "critical"),
}


def event_of(wording: str) -> Event:
    """Return what the normalizer makes of a record that is worded so, about a repository."""
    return normalize(
        record(
            action=wording,
            action_key="",
            objects=(
                AffectedObject(type="PROJECT", name="SEC", id="2"),
                AffectedObject(type="REPOSITORY", name="payments", id="1"),
                *([AffectedObject(type="USER", name="bob", id="7")] if "ccess" in wording else []),
            ),
            changes=(Change(key="Value", from_="a", to="b"),),
            attributes=(Attribute(name="Rule", value="AWS key"),),
            original=msgspec.Raw(msgspec.json.encode({"action": wording})),
        ),
        source="bitbucket",
    )


def read(name: str, event: Event) -> Any:
    line = FORMATS[name].encode(event)
    readers: dict[str, Callable[[str], Any]] = {"cef": cef.parse, "leef": leef.parse}
    return readers.get(name, json.loads)(line.decode())


def test_every_kind_that_soteri_documents_has_a_row() -> None:
    assert {row[1] for row in ROWS} == DOCUMENTED


@pytest.mark.parametrize("row", ROWS, ids=[row[1] for row in ROWS])
def test_a_documented_event_means_in_every_format_what_was_chosen_for_it(row: Row) -> None:
    event = event_of(row.wording)
    grave = SEVERITIES[row.severity]
    ours, ecs, ocsf = read("json", event), read("ecs", event)["event"], read("ocsf", event)
    assert (ours["kind"], ours["severity"], ours["action"]) == (row.kind, row.severity, row.wording)
    assert (ecs["action"], ecs["severity"]) == (row.kind, grave[0])
    assert (ecs.get("category", ["-"]), ecs["type"]) == ([row.category], row.types.split(","))
    assert ecs.get("outcome", "-") == row.outcome
    assert (ocsf["class_uid"], ocsf["activity_id"]) == (int(row.class_uid), int(row.activity))
    assert (ocsf["severity_id"], ocsf["status"]) == (grave[1], row.status)
    assert ocsf["metadata"]["event_code"] == row.kind
    in_cef, in_leef, cim = read("cef", event), read("leef", event), read("splunk_cim", event)
    assert (in_cef.event_class, in_cef.severity) == (row.kind, grave[2])
    assert in_cef.extension.get("outcome", "-") == row.cef_outcome
    assert (in_leef.event_id, in_leef.attributes["sev"]) == (row.kind, str(grave[3]))
    assert in_leef.attributes["cat"] == row.leef_category
    assert (cim["action"], cim["change_type"]) == (row.action, row.change_type)
    assert (cim["severity"], cim.get("status", "-")) == (grave[4], row.cef_outcome)
    assert read("audit_log", event)["auditType"]["action"] == row.wording
    assert read("raw", event) == {"action": row.wording}
