"""The Format contract: every format passes it."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import example, given

from forwarder.formats import FORMATS
from forwarder.interfaces import Format
from forwarder.model import Event
from tests.fakes.events import event, hostile_events, stored
from tests.fakes.kinds import every_event
from tests.fakes.simulated import simulated


@dataclass(frozen=True)
class Encoded:
    """What each format makes of one event, drawn once for all of them: drawing is what is slow."""

    drawn: Event

    def __iter__(self):
        for name, line_format in FORMATS.items():
            yield name, line_format, line_format.encode(self.drawn)


@given(drawn=hostile_events())
@example(drawn=event())
def test_an_event_is_one_line_of_utf8_whatever_it_says(drawn: Event):
    for name, _, line in Encoded(drawn):
        assert line, name
        assert not set(b"\r\n\x00") & set(line), name
        line.decode("utf-8")


@given(drawn=hostile_events())
def test_what_calls_itself_json_is_one_json_value(drawn: Event):
    for name, line_format, line in Encoded(drawn):
        if line_format.media_type == "application/json":
            json.loads(line)
        else:
            assert line_format.media_type == "text/plain", name


@given(drawn=hostile_events())
def test_the_same_event_gives_the_same_bytes_as_it_was_made_and_as_it_is_stored(drawn: Event):
    for name, line_format, line in Encoded(drawn):
        assert line_format.encode(drawn) == line, name
        assert line_format.encode(stored(drawn)) == line, name


def test_every_kind_and_every_simulated_event_goes_through_every_format():
    for one in (*every_event(), *simulated()):
        for name, line_format, line in Encoded(one):
            assert b"\n" not in line, (name, one.kind)
            if line_format.media_type == "application/json":
                json.loads(line)


@pytest.mark.parametrize("line_format", FORMATS.values(), ids=FORMATS.keys())
def test_every_format_names_its_media_type(line_format: Format):
    assert line_format.media_type in {"application/json", "text/plain"}
