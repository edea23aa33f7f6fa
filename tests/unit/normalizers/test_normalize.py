import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Event, Record
from tests.fakes.events import hostile_text
from tests.fakes.normalized import normalize
from tests.fakes.records import record

SOTERI = "Soteri Security for Bitbucket"


@pytest.mark.parametrize("category", [SOTERI, "Repositories"])
def test_everything_that_the_record_says_is_in_the_event(category):
    given_record = record(category=category)
    event = normalize(given_record, source="bitbucket")
    for name in Record.__struct_fields__:
        assert getattr(event, name) == getattr(given_record, name), name
    added = {"source", "kind", "severity"}
    links = {"chain"}  # the store's, once the event is in it
    assert set(Event.__struct_fields__) - set(Record.__struct_fields__) - links == added


def test_the_event_carries_the_name_of_its_source():
    assert normalize(record(), source="second").source == "second"


@pytest.mark.parametrize(
    "action", ["Security hook skipped", "security hook SKIPPED", "  Security  hook\tskipped\n"]
)
def test_a_skipped_hook_is_recognised_and_severe(action):
    event = normalize(record(action=action), source="bitbucket")
    assert (event.kind, event.severity) == ("hook.skipped", "high")
    assert event.action == action


@pytest.mark.parametrize("action", ["Something that no documentation names", "", "\x00"])
def test_a_soteri_action_that_nobody_documented_passes_untouched(action):
    event = normalize(record(action=action), source="bitbucket")
    assert (event.kind, event.severity) == ("soteri.unknown", "medium")
    assert event.action == action


def test_the_same_action_in_another_category_is_not_soteris():
    event = normalize(record(category="Repositories"), source="bitbucket")
    assert event.kind == "bitbucket.security_hook_skipped"


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("Repository created", "bitbucket.repository_created"),
        ("Pull request: merged (forced)", "bitbucket.pull_request_merged_forced"),
        ("", "bitbucket.unnamed"),
        ("リポジトリ", "bitbucket.unnamed"),
        ("word " * 100, "bitbucket." + "_".join(["word"] * 13)),
    ],
)
def test_bitbuckets_own_actions_are_named_after_their_text(action, kind):
    event = normalize(record(category="Repositories", action=action), source="bitbucket")
    assert (event.kind, event.severity) == (kind, "info")


@given(category=st.one_of(st.just(SOTERI), hostile_text()), action=hostile_text())
def test_every_record_becomes_an_event_with_a_plain_short_kind(category, action):
    event = normalize(record(category=category, action=action), source="bitbucket")
    assert event.kind.isascii()
    assert len(event.kind) <= 80
    assert set(event.kind) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.")
