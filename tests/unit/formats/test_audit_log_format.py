"""`audit_log`, held to what the node's own file looks like and to rules that are written for it."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given

from forwarder.formats.audit_log import AuditLogFormat
from forwarder.model import Actor, Change
from tests.fakes.events import event, hostile_events

# SigmaHQ's rules for Bitbucket (https://github.com/SigmaHQ/sigma, rules/application/bitbucket/
# audit): each with its id and what its one selection asks. A list means any of its values.
SIGMA = {
    "aac6c4f4-87c7-4961-96ac-c3fd3a42c310": {
        "auditType.category": "Permissions",
        "auditType.action": [
            "Global permission remove request",
            "Global permission removed",
            "Global permission granted",
            "Global permission requested",
        ],
    },
    "e16cf0f0-ee88-4901-bd0b-4c8d13d9ee05": {
        "auditType.category": "Global administration",
        "auditType.action": "Global secret scanning rule deleted",
    },
    "16ab6143-510a-44e2-a615-bdb80b8317fc": {
        "auditType.category": "Global administration",
        "auditType.action": "SSH settings changed",
    },
    "6aa12161-235a-4dfb-9c74-fe08df8d8da1": {
        "auditType.category": "Auditing",
        "auditType.action": "Audit log configuration updated",
    },
    "42ccce6d-7bd3-4930-95cd-e4d83fa94a30": {
        "auditType.category": "Projects",
        "auditType.action": "Project secret scanning allowlist rule added",
    },
    "ff91e3f0-ad15-459f-9a85-1556390c138d": {
        "auditType.category": ["Projects", "Repositories"],
        "auditType.action": [
            "Project secret scanning rule deleted",
            "Repository secret scanning rule deleted",
        ],
    },
    "195e1b9d-bfc2-4ffa-ab4e-35aef69815f8": {
        "auditType.category": "Data pipeline",
        "auditType.action": "Full data export triggered",
    },
    "34d81081-03c9-4a7f-91c9-5e46af625cde": {
        "auditType.category": "Data pipeline",
        "auditType.action": "Unauthorized full data export triggered",
    },
    "70ed1d26-0050-4b38-a599-92c53d57d45a": {
        "auditType.category": "Authentication",
        "auditType.action": "User login failed",
    },
    "d3f90469-fb05-42ce-b67d-0fded91bbef3": {
        "auditType.category": "Authentication",
        "auditType.action": "User login failed(SSH)",
    },
    "7215374a-de4f-4b33-8ba5-70804c9251d3": {
        "auditType.category": "Security",
        "auditType.action": "Unauthorized access to a resource",
    },
    "b91e8d5e-0033-44fe-973f-b730316f23a1": {
        "auditType.category": "Repositories",
        "auditType.action": "Secret scanning exempt repository added",
    },
    "5259cbf2-0a75-48bf-b57a-c54d6fabaef3": {
        "auditType.category": "Users and groups",
        "auditType.action": [
            "User permissions export failed",
            "User permissions export started",
            "User permissions exported",
        ],
    },
    "87cc6698-3e07-4ba2-9b43-a85a73e151e2": {
        "auditType.category": "Users and groups",
        "auditType.action": [
            "User details export failed",
            "User details export started",
            "User details exported",
        ],
    },
}


def line(one) -> dict:
    return json.loads(AuditLogFormat().encode(one))


def field(written: dict, path: str):
    for name in path.split("."):
        written = written[name]
    return written


def is_matched(selection: dict, written: dict) -> bool:
    """Match as Sigma does: every field, any of a list's values, whatever the case."""
    for path, wanted in selection.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if field(written, path).lower() not in {one.lower() for one in values}:
            return False
    return True


def values(wanted) -> list[str]:
    return wanted if isinstance(wanted, list) else [wanted]


@pytest.mark.parametrize("rule", SIGMA)
def test_sigmas_rule_matches_its_events_and_no_others(rule):
    selection = SIGMA[rule]
    for category in values(selection["auditType.category"]):
        for action in values(selection["auditType.action"]):
            written = line(event(category=category, action=action))
            assert [one for one in SIGMA if is_matched(SIGMA[one], written)] == [rule]
    assert not is_matched(selection, line(event()))


def test_sigma_matches_what_a_real_bitbucket_writes_in_another_case():
    real = line(event(category="Auditing", action="Audit Log configuration updated"))
    assert is_matched(SIGMA["6aa12161-235a-4dfb-9c74-fe08df8d8da1"], real)


def test_the_line_is_that_of_the_file():
    one = event(
        occurred_at=datetime(2021, 11, 27, 17, 34, 25, 313_000, tzinfo=UTC),
        changes=(Change(key="Project", i18n_key="x.project", from_="TEST", to="AT"),),
    )
    assert AuditLogFormat().encode(one).decode() == (
        '{"affectedObjects":[{"id":"2","name":"SEC","type":"PROJECT"},'
        '{"id":"1","name":"payments","type":"REPOSITORY"}],'
        '"auditType":{"action":"Security hook skipped","actionI18nKey":"",'
        '"category":"Soteri Security for Bitbucket","categoryI18nKey":""},'
        '"author":{"id":"2","name":"alice","type":"NORMAL"},'
        '"changedValues":[{"from":"TEST","i18nKey":"x.project","key":"Project","to":"AT"}],'
        '"extraAttributes":[{"name":"target","value":"SEC/payments"}],'
        '"method":"Git","node":"8767044c-1b98-4d64-82db-ef29af8c3792","source":"10.0.0.1",'
        '"system":"https://bitbucket.example.com",'
        '"timestamp":{"epochSecond":1638034465,"nano":313000000},"version":"1.0"}'
    )


@given(drawn=hostile_events())
def test_its_keys_are_sorted_and_nothing_of_the_event_is_lost(drawn):
    text = AuditLogFormat().encode(drawn)
    written = json.loads(text)
    assert (
        text
        == json.dumps(written, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    )
    assert written["auditType"]["action"] == drawn.action
    assert [one.get("value") for one in written["extraAttributes"]] == [
        one.value for one in drawn.attributes
    ]
    assert msgspec.convert(written["author"], Actor) == (drawn.actor or Actor())


def test_area_and_level_are_those_of_the_file_where_the_record_is_from_it():
    original = b'{"auditType":{"action":"x","area":"SECURITY","level":"BASE"},"version":"1.0"}'
    audit_type = line(event(original=msgspec.Raw(original)))["auditType"]
    assert (audit_type["area"], audit_type["level"]) == ("SECURITY", "BASE")


@pytest.mark.parametrize(
    "original",
    [b'{"x":"auditType"}', b'{"auditType":[]}', b'{"auditType":null}', b'"\\"auditType\\""', b"{}"],
)
def test_area_and_level_are_absent_where_nobody_said_them(original):
    assert not {"area", "level"} & line(event(original=msgspec.Raw(original)))["auditType"].keys()


def test_a_time_before_1970_has_its_nanoseconds_counted_forward():
    at = datetime(1969, 12, 31, 23, 59, 59, 250_000, tzinfo=UTC)
    assert line(event(occurred_at=at))["timestamp"] == {"epochSecond": -1, "nano": 250_000_000}


def test_what_bitbucket_did_not_say_is_absent():
    written = line(event(address=None, system=None, node=None, method=None))
    assert not {"source", "system", "node", "method"} & written.keys()
