"""The Format contract: every format passes it."""

import json

import pytest
from hypothesis import example, given, settings

from forwarder.formats import FORMATS
from forwarder.interfaces import Format
from forwarder.model import Event
from tests.fakes.events import event, hostile_events

every_format = pytest.mark.parametrize("line_format", FORMATS.values(), ids=FORMATS.keys())
hostile = settings(deadline=None, derandomize=True)


@every_format
@hostile
@given(drawn=hostile_events())
@example(drawn=event())
def test_an_event_is_one_line_of_utf8_whatever_it_says(line_format: Format, drawn: Event):
    line = line_format.encode(drawn)
    assert line
    assert not set(b"\r\n\x00") & set(line)
    line.decode("utf-8")


@every_format
@hostile
@given(drawn=hostile_events())
def test_what_calls_itself_json_is_one_json_value(line_format: Format, drawn: Event):
    if line_format.media_type == "application/json":
        json.loads(line_format.encode(drawn))
    else:
        assert line_format.media_type == "text/plain"


@every_format
@hostile
@given(drawn=hostile_events())
def test_the_same_event_gives_the_same_bytes(line_format: Format, drawn: Event):
    assert line_format.encode(drawn) == line_format.encode(drawn)
