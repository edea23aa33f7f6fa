"""What does not fit is shortened where everybody can see it."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.formats import FORMATS
from forwarder.model import Attribute
from forwarder.sinks.syslog.shorten import shorten
from tests.fakes.events import event

JSON = "application/json"

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=60),
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=20), inner, max_size=20)
    ),
    max_leaves=60,
)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_the_original_goes_first_and_nothing_else():
    one = event(original=raw({"text": "x" * 5000}))
    whole = FORMATS["json"].encode(one)
    shorter = shorten(whole, event=one, media_type=JSON, room=4000)
    fields = json.loads(whole)
    del fields["original"]
    assert json.loads(shorter or b"") == {**fields, "shortened": True}


def test_long_texts_are_cut_next_and_say_so():
    one = event(action="a" * 5000)
    shorter = shorten(FORMATS["json"].encode(one), event=one, media_type=JSON, room=4000)
    fields = json.loads(shorter or b"")
    assert fields["action"] == "a" * 1024 + "…"
    assert fields["actor"]["name"] == "alice"
    assert fields["event_id"] == one.event_id
    assert fields["shortened"] is True


def test_in_the_end_there_is_what_the_event_is_and_when_it_happened():
    one = event()
    body = b"{" + b",".join(b'"name %d":0.25' % n for n in range(5000)) + b"}"
    shorter = shorten(body, event=one, media_type=JSON, room=180)
    assert json.loads(shorter or b"") == {
        "event_id": one.event_id,
        "kind": "hook.skipped",
        "severity": "high",
        "time": "2026-01-02T03:04:06.678000Z",
        "shortened": True,
    }


def test_where_not_even_that_fits_there_is_nothing():
    assert shorten(b'{"a":"bcd"}', event=event(), media_type=JSON, room=10) is None
    assert shorten(b"abc", event=event(), media_type="text/plain", room=10) is None


@given(json_values, st.integers(min_value=200, max_value=2000))
def test_any_json_becomes_valid_json_that_fits(value, room):
    one = event()
    body = json.dumps(value).encode()
    shorter = shorten(body, event=one, media_type=JSON, room=room)
    assert shorter is not None
    assert len(shorter) <= room
    fields = json.loads(shorter)
    assert fields["event_id"] == one.event_id
    assert fields["shortened"] is True


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a":1' + b"0" * 5000 + b"}",
        b'{"a":1e999999}',
        b'{"a":"' + b"x" * 5000,
    ],
    ids=["nested", "long number", "infinite number", "no JSON at all"],
)
def test_json_that_nobody_reads_is_still_marked(body):
    one = event()
    shorter = shorten(body, event=one, media_type=JSON, room=1000)
    assert shorter is not None
    assert len(shorter) <= 1000
    assert json.loads(shorter)["event_id"] == one.event_id


@given(st.text(min_size=400), st.integers(min_value=120, max_value=300))
def test_text_is_cut_between_two_characters_and_marked(text, room):
    one = event()
    body = text.encode("utf-8", "replace")
    shorter = shorten(body, event=one, media_type="text/plain", room=room)
    assert shorter is not None
    assert len(shorter) <= room
    kept, mark = shorter.decode("utf-8").split("…", 1)[0], shorter.decode("utf-8")
    assert text.encode("utf-8", "replace").decode().startswith(kept)
    assert mark.endswith(f"event_id={one.event_id}")


def test_a_cut_leaves_no_backslash_that_would_escape_the_mark():
    one = event()
    body = b"CEF:0|a|b|1|x|y|5|msg=" + b"\\" * 500
    shorter = shorten(body, event=one, media_type="text/plain", room=200)
    assert shorter == (
        b"CEF:0|a|b|1|x|y|5|msg=" + f"… shortened=true event_id={one.event_id}".encode()
    )


def test_what_is_parted_by_tabs_has_its_mark_parted_by_tabs():
    one = event()
    shorter = shorten(b"a=1\tb=" + b"x" * 500, event=one, media_type="text/plain", room=200)
    assert (shorter or b"").endswith(f"…\tshortened=true\tevent_id={one.event_id}".encode())


@pytest.mark.parametrize(("name", "path"), [("ecs", "event"), ("ocsf", None), ("json", None)])
def test_of_every_schema_the_original_goes_first_and_nothing_else(name, path):
    one = event(original=raw({"text": "x" * 5000}))
    whole = FORMATS[name].encode(one)
    written = json.loads(shorten(whole, event=one, media_type=JSON, room=4000) or b"")
    expected = json.loads(whole)
    inner = expected[path] if path else expected
    inner.pop("original" if name in ("ecs", "json") else "raw_data")
    assert written == {**expected, "shortened": True, "event_id": one.event_id}


def test_shortened_ecs_keeps_its_time_its_id_and_its_category():
    long = tuple(Attribute(name=f"attribute {n}", value="x" * 500) for n in range(20))
    one = event(attributes=long)
    written = json.loads(
        shorten(FORMATS["ecs"].encode(one), event=one, media_type=JSON, room=3000) or b""
    )
    assert written["@timestamp"] == "2026-01-02T03:04:06.678000Z"
    assert written["event"]["id"] == one.event_id
    assert written["event"]["category"] == ["intrusion_detection"]
