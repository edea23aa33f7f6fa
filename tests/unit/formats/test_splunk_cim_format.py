"""`splunk_cim`, held to the fields and values of the Common Information Model."""

import json

import pytest
from hypothesis import given

from forwarder.formats.splunk_cim import SplunkCimFormat
from tests.fakes.events import event, hostile_events
from tests.fakes.kinds import event_of, every_event

# Splunk's "Common Information Model Add-on Manual", data models Change, Authentication, Alerts.
CHANGE = {
    "action", "change_type", "command", "dest", "dvc", "object", "object_attrs",
    "object_category", "object_id", "object_path", "result", "src", "status", "user", "user_name",
    "user_type", "vendor_product",
}  # fmt: skip
AUTHENTICATION = {
    "action", "app", "authentication_method", "dest", "reason", "signature", "signature_id", "src",
    "user", "user_id", "user_type",
}  # fmt: skip
ALERTS = {"description", "severity", "signature", "signature_id", "type"}
OURS = {
    "time", "event_id", "kind", "url", "category", "src_ip", "project", "repository", "rule",
    "old_value",
    "new_value", "method", "attributes", "source_name",
}  # fmt: skip
CHANGE_ACTIONS = {
    "acl_modified", "cleared", "created", "deleted", "modified", "read", "started", "stopped",
    "updated", "unknown", "allowed", "blocked",
}  # fmt: skip


def fields(one) -> dict:
    return json.loads(SplunkCimFormat().encode(one))


def test_every_field_is_one_of_the_models_or_one_that_is_described():
    for one in every_event():
        assert not fields(one).keys() - CHANGE - AUTHENTICATION - ALERTS - OURS


def test_every_action_is_one_that_the_model_prescribes():
    for one in every_event():
        written = fields(one)
        assert written.get("status", "success") in {"success", "failure"}
        if written["object_category"] == "authentication":
            assert written["action"] in {"success", "failure"}
        else:
            assert written["action"] in CHANGE_ACTIONS, one.kind


@given(drawn=hostile_events())
def test_every_value_is_text(drawn):
    written = fields(drawn)
    assert all(isinstance(value, str) and value for value in written.values())
    assert written["event_id"] == drawn.event_id


def test_a_change_names_who_changed_what_and_from_what_to_what():
    written = fields(event_of("access.granted", about="user"))
    assert (written["action"], written["change_type"]) == ("acl_modified", "AAA")
    assert (written["user"], written["object"], written["object_category"]) == (
        "alice",
        "bob",
        "user",
    )
    assert written["object_attrs"] == "Permission"
    assert (written["old_value"], written["new_value"]) == ("Permission=READ", "Permission=ADMIN")


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("hook.blocked", "blocked"),
        ("hook.skipped", "allowed"),
        ("rule.custom_deleted", "deleted"),
        ("rule.builtin_toggled", "modified"),
        ("soteri.unknown", "unknown"),
        ("bitbucket.user_login_failed", "failure"),
        ("bitbucket.user_logged_in", "success"),
    ],
)
def test_each_kind_has_its_action(kind, action):
    assert fields(event_of(kind))["action"] == action


def test_severities_are_spelt_as_splunk_spells_them():
    assert fields(event(severity="info"))["severity"] == "informational"
    assert fields(event(severity="critical"))["severity"] == "critical"


def test_the_place_of_a_repository_is_its_path():
    written = fields(event())
    assert (written["object"], written["object_path"]) == ("payments", "SEC/payments")
    assert (written["project"], written["repository"]) == ("SEC", "payments")
