"""`ocsf`, held to the schema that ocsf.io publishes, as ocsf-json-schema carries it.

That package's newest is 1.8.0: tests/data/ocsf-1.9.0.json has what the release after it changed.
"""

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from jsonpatch import JsonPatch
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema, get_packaged_versions

from forwarder.formats.ocsf import VERSION, OcsfFormat
from tests.fakes.events import event, hostile_events
from tests.fakes.kinds import KINDS, event_of, every_event
from tests.fakes.simulated import simulated

RELEASE = json.loads((Path(__file__).parents[2] / "data" / "ocsf-1.9.0.json").read_text("utf-8"))


@cache
def official() -> dict:
    """Return the schema of the version that the format declares, as ocsf.io exports it."""
    assert RELEASE["version"] == VERSION
    return JsonPatch(RELEASE["changes"]).apply(get_ocsf_schema(RELEASE["over"]), in_place=True)


@cache
def schema() -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(official())


def refuse(_validator, deprecated, _instance, _schema):
    """Call an attribute that the schema deprecates a mistake."""
    if deprecated:
        yield ValidationError("is deprecated")


Strict = extend(Draft202012Validator, {"deprecated": refuse})


@cache
def validator(class_uid: int, profiles: tuple[str, ...]) -> Draft202012Validator:
    name = schema().lookup_class_name_from_uid(class_uid)
    return Strict(schema().get_class_schema(name, list(profiles)))


@cache
def captions(class_uid: int) -> tuple[str, str, dict[str, str]]:
    """Return the official caption of a class, of its category and of its activities."""
    chosen = official()["classes"][schema().lookup_class_name_from_uid(class_uid)]
    attributes = chosen["attributes"]
    (category,) = attributes["category_uid"]["enum"].values()
    activities = attributes["activity_id"]["enum"]
    named = {number: one["caption"] for number, one in activities.items()}
    return chosen["caption"], category["caption"], named


def encoded(one) -> dict:
    return json.loads(OcsfFormat().encode(one))


def mistakes(written: dict) -> list[str]:
    profiles = tuple(written["metadata"]["profiles"])
    found = validator(written["class_uid"], profiles).iter_errors(written)
    return [f"{error.json_path}: {error.message[:200]}" for error in found]


def test_every_kind_is_valid_in_its_class_whatever_it_is_about():
    for one in (*every_event(), *simulated()):
        assert mistakes(encoded(one)) == [], one.kind


@given(drawn=hostile_events())
def test_hostile_text_stays_valid(drawn):
    written = encoded(drawn)
    assert mistakes(written) == []
    assert written["raw_data"] == bytes(drawn.original).decode()


def test_what_the_schema_does_not_know_or_want_is_found_by_this_test():
    written = encoded(event())
    assert mistakes({**written, "nickname": "al"})
    assert mistakes({**written, "actor": {**written["actor"], "app_name": "git"}})
    del written["finding_info"]
    assert mistakes(written)


def test_every_class_is_one_that_the_schema_still_wants():
    used = {encoded(one)["class_uid"] for one in every_event()}
    classes = [one for one in official()["classes"].values() if one.get("uid") in used]
    assert len(classes) == len(used)
    assert [one["caption"] for one in classes if "@deprecated" in one] == []


def test_the_changes_of_the_release_are_laid_over_by_hand_only_while_no_package_carries_it():
    assert VERSION not in get_packaged_versions(), (
        f"ocsf-json-schema carries {VERSION} now: validate against that alone, and delete "
        "tests/data/ocsf-1.9.0.json"
    )


def test_numbers_and_names_of_class_and_activity_belong_together():
    for one in every_event():
        written = encoded(one)
        name, category, activities = captions(written["class_uid"])
        assert written["class_name"] == name
        assert written["category_name"] == category
        activity = activities[str(written["activity_id"])]
        assert written["type_uid"] == written["class_uid"] * 100 + written["activity_id"]
        assert written["type_name"] == f"{name}: {activity}"
        if activity != "Other":
            assert written["activity_name"] == activity


# The choice for each kind, as docs/formats.md argues it.
CLASSES = {
    "hook.skipped": (2004, 1),
    "hook.blocked": (2006, 1),
    "hook.warned": (2006, 1),
    "hook.mode_changed": (3004, 3),
    "hook.status_changed": (3004, 3),
    "hook.settings_changed": (3004, 3),
    "rule.builtin_toggled": (3004, 3),
    "rule.custom_created": (3004, 1),
    "rule.custom_changed": (3004, 3),
    "rule.custom_toggled": (3004, 3),
    "rule.custom_deleted": (3004, 4),
    "allowlist.added": (3004, 1),
    "allowlist.removed": (3004, 4),
    "finding.reviewed": (2006, 2),
    "finding.unreviewed": (2006, 2),
    "scan.started": (6007, 1),
    "scan.files_skipped": (6007, 99),
    "access.granted": (3007, 14),
    "access.revoked": (3007, 15),
    "access.changed": (3007, 2),
    "soteri.unknown": (0, 99),
    "bitbucket.app_disabled": (6002, 7),
    "bitbucket.app_uninstalled": (6002, 2),
    "bitbucket.audit_configuration_changed": (1008, 99),
    "bitbucket.repository_created": (6001, 1),
    "bitbucket.user_login_failed": (3002, 1),
    "bitbucket.user_created": (3007, 1),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_each_kind_is_in_the_class_that_was_chosen_for_it(kind):
    about = "repository" if "repository" in kind else "user"
    written = encoded(event_of(kind, about=about))
    assert (written["class_uid"], written["activity_id"]) == CLASSES[kind]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "soteri.unknown"])
def test_only_what_nobody_knows_is_a_base_event(kind):
    assert encoded(event_of(kind, about="repository"))["class_uid"] != 0


def test_what_a_group_may_do_is_group_management():
    written = encoded(event_of("access.granted", about="group alone"))
    assert (written["class_uid"], written["group"]["name"]) == (3006, "developers")
    assert written["privileges"] == ["ADMIN"]


def test_who_joins_a_group_is_named():
    written = encoded(event_of("bitbucket.user_added_to_user_group", about="group"))
    assert (written["class_uid"], written["activity_id"]) == (3006, 3)
    assert written["users"] == [{"name": "bob", "uid": "7"}]


def test_a_blocked_push_is_denied_and_a_skipped_one_is_allowed():
    blocked, skipped = encoded(event_of("hook.blocked")), encoded(event_of("hook.skipped"))
    assert (blocked["action"], blocked["disposition"]) == ("Denied", "Blocked")
    assert (skipped["action"], skipped["disposition"]) == ("Allowed", "Allowed")
    assert skipped["evidences"][0]["actor"]["user"]["name"] == "alice"


def test_the_time_is_in_milliseconds_and_the_id_is_the_events():
    one = event()
    written = encoded(one)
    assert written["time"] == round(one.occurred_at.timestamp() * 1000)
    assert written["metadata"]["uid"] == one.event_id


def test_a_failed_login_failed():
    assert encoded(event_of("bitbucket.user_login_failed"))["status"] == "Failure"
