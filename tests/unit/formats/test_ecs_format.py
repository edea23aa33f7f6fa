"""`ecs`, held to Elastic's own list of fields and to the values that ECS allows."""

import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given

from forwarder.formats.ecs import VERSION, EcsFormat, categorize
from forwarder.model import AffectedObject
from tests.fakes.events import event, hostile_events
from tests.fakes.kinds import KINDS, OTHERS, event_of, every_event
from tests.fakes.simulated import simulated

SCHEMA = json.loads((Path(__file__).parents[2] / "data" / "ecs-9.4.0.json").read_text("utf-8"))
FIELDS = SCHEMA["fields"]

# Ours, under names that are no field sets of ECS: "bitbucket" is Elastic's own integration's.
CUSTOM = {"bitbucket", "soteri"}

# https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-category and ...-event-type:
# the categories that we use, with the types that ECS expects in each.
EXPECTED = {
    "authentication": {"start", "end", "info"},
    "configuration": {"access", "change", "creation", "deletion", "info"},
    "iam": {"admin", "change", "creation", "deletion", "group", "info", "user"},
    "intrusion_detection": {"allowed", "denied", "info"},
    "package": {"access", "change", "deletion", "info", "installation", "start"},
    "process": {"access", "change", "end", "info", "start"},
    "vulnerability": {"info"},
}


def document(one) -> dict:
    return json.loads(EcsFormat().encode(one))


def flat(value, path=""):
    for name, inner in value.items():
        full = f"{path}.{name}" if path else name
        if FIELDS.get(full) == "object" or not isinstance(inner, dict):
            yield full, inner
        else:
            yield from flat(inner, full)


def mistakes(written: dict) -> list[str]:
    found = []
    for path, value in flat({name: part for name, part in written.items() if name not in CUSTOM}):
        kind = FIELDS.get(path)
        right = {
            None: False,
            "keyword": isinstance(value, str),
            "keyword[]": isinstance(value, list) and all(isinstance(one, str) for one in value),
            "number": type(value) in (int, float),
            "object": isinstance(value, dict),
            f"'{VERSION}'": value == VERSION,
        }[kind]
        if not right:
            found.append(f"{path} is {kind}, not {value!r}")
    return found


def test_the_version_is_that_of_the_list_of_fields():
    assert SCHEMA["version"] == VERSION


def test_a_field_that_ecs_does_not_know_is_found_by_this_test():
    assert mistakes({"user": {"nickname": "al"}}) == ["user.nickname is None, not 'al'"]


def test_every_field_is_one_of_ecs_and_of_its_type():
    for one in (*every_event(), *simulated()):
        assert mistakes(document(one)) == [], one.kind


@given(drawn=hostile_events())
def test_hostile_text_changes_no_fields_type(drawn):
    written = document(drawn)
    assert mistakes(written) == []
    assert written["event"]["original"] == bytes(drawn.original).decode()


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_every_kind_has_categories_and_types_that_ecs_expects_together(kind):
    said = categorize(kind)
    assert said["kind"] in {"alert", "event"}
    assert said.get("outcome") in {"success", "failure", None}
    for category in said.get("category", ()):
        assert set(said["type"]) <= EXPECTED[category]
    assert said["type"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "soteri.unknown"])
def test_every_kind_of_the_catalogue_has_a_category(kind):
    assert categorize(kind)["category"]


def test_what_nobody_knows_has_no_category_guessed():
    assert "category" not in categorize("soteri.unknown")


def test_a_push_is_allowed_or_denied():
    assert categorize("hook.blocked")["type"] == ["denied"]
    assert categorize("hook.warned")["type"] == ["allowed"]
    assert categorize("hook.skipped")["type"] == ["allowed"]


def test_addresses_behind_proxies_are_each_related():
    written = document(event(address="2001:db8::1, 10.0.0.1, unknown"))
    assert written["source"] == {"address": "2001:db8::1, 10.0.0.1, unknown", "ip": "2001:db8::1"}
    assert [ip_address(one) for one in written["related"]["ip"]]


def test_an_address_that_is_no_ip_is_no_ip():
    written = document(event(address="build-agent"))
    assert written["source"] == {"address": "build-agent"}
    assert "ip" not in written["related"]


def test_who_did_it_to_whom_is_told_apart():
    written = document(event_of("access.granted", about="user"))
    assert written["user"]["name"] == "alice"
    assert written["user"]["target"] == {"name": "bob", "id": "7"}
    assert written["related"]["user"] == ["alice", "bob"]


def test_groups_and_rules_are_named():
    written = document(event_of("access.granted", about="group"))
    assert written["group"] == {"name": "developers", "id": "developers"}
    assert written["rule"]["name"] == "AWS key"


def test_a_user_without_a_name_is_nobody():
    one = event(actor=None, objects=(AffectedObject(type="USER", id="4"),))
    assert "user" not in document(one)
