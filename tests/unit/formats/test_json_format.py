import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator, FormatChecker

from forwarder.formats.json import VERSION, JsonFormat, schema
from forwarder.model import Event
from tests.fakes.events import event, hostile_events


@given(drawn=hostile_events())
def test_the_original_is_spliced_in_byte_for_byte(drawn):
    assert JsonFormat().encode(drawn).endswith(b'"original":' + bytes(drawn.original) + b"}")


@given(drawn=hostile_events())
def test_nothing_that_the_event_says_is_lost(drawn):
    read = msgspec.json.decode(JsonFormat().encode(drawn), type=Event)
    assert all(
        getattr(read, name) == getattr(drawn, name)
        for name in Event.__struct_fields__
        if name != "original"
    )
    assert bytes(read.original) == bytes(drawn.original)


def test_the_version_comes_first():
    assert JsonFormat().encode(event()).startswith(b'{"version":%d,"event_id":"' % VERSION)


@pytest.mark.parametrize(
    ("occurred_at", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 87_000, tzinfo=UTC), "2026-01-02T03:04:05.087000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC), "2026-01-02T03:04:05.123456Z"),
        (datetime(1969, 7, 20, tzinfo=UTC), "1969-07-20T00:00:00Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(occurred_at, text):
    assert json.loads(JsonFormat().encode(event(occurred_at=occurred_at)))["time"] == text


def test_an_event_that_says_nothing_still_has_every_field():
    bare = Event(
        event_id="0" * 32,
        source="bitbucket",
        kind="soteri.unknown",
        severity="info",
        occurred_at=datetime(2026, 1, 2, tzinfo=UTC),
        original=msgspec.Raw(b"{}"),
    )
    full = event()
    fields = json.loads(JsonFormat().encode(bare)).keys()
    assert fields == json.loads(JsonFormat().encode(full)).keys()


def validator() -> Draft202012Validator:
    return Draft202012Validator(schema(), format_checker=FormatChecker())


@given(drawn=hostile_events())
def test_every_line_is_valid_by_the_published_schema(drawn):
    written = json.loads(JsonFormat().encode(drawn))
    assert [error.message for error in validator().iter_errors(written)] == []


def test_the_schema_is_one_and_allows_what_a_later_release_adds():
    Draft202012Validator.check_schema(schema())
    written = json.loads(JsonFormat().encode(event()))
    assert validator().is_valid({**written, "added_later": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"event_id": "1"},
        {"severity": "grave"},
        {"objects": {}},
        {"time": "2026-01-02T03:04:05"},
        {"actor": "alice"},
    ],
)
def test_the_schema_refuses_what_no_line_says(change):
    written = json.loads(JsonFormat().encode(event()))
    assert not validator().is_valid({**written, **change})


@pytest.mark.parametrize(
    "field", [name for name in schema()["properties"] if name not in ("context", "chain")]
)
def test_every_field_is_required_but_context_and_chain(field):
    written = json.loads(JsonFormat().encode(event()))
    del written[field]
    assert not validator().is_valid(written)
