"""`leef`, read back by a strict parser of its own."""

import json
from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forwarder.formats.leef import LeefFormat
from forwarder.model import Actor
from forwarder.sinks.syslog.shorten import shorten
from tests.fakes.events import event, hostile_events
from tests.fakes.kinds import event_of, every_event
from tests.receivers.leef import LeefError, parse


def read(one):
    return parse(LeefFormat().encode(one).decode())


def plain(text: str) -> str:
    """Return `text` as LEEF can hold it: it has no way to write what ends a value or a line."""
    return text.translate(str.maketrans("\t\r\n\0", "    "))


@given(drawn=hostile_events())
@example(drawn=event(actor=Actor(name="a=b|c\tusrName=mallory\naction=forged")))
def test_hostile_text_comes_back_but_for_what_leef_cannot_hold(drawn):
    written = read(drawn)
    assert written.event_id == drawn.kind
    said = {
        "eventUuid": drawn.event_id,
        "action": drawn.action,
        "category": drawn.category,
        "usrName": (drawn.actor.name if drawn.actor else None) or "",
        "node": drawn.node or "",
        "method": drawn.method or "",
    }
    assert {key: written.attributes.get(key, "") for key in said} == {
        key: plain(text) for key, text in said.items()
    }
    if drawn.attributes:  # JSON: its own escapes keep even tabs and line ends
        values = [one.get("value") for one in json.loads(written.attributes["attributes"])]
        assert values == [one.value for one in drawn.attributes]


def test_every_kind_is_leef():
    for one in every_event():
        assert read(one).event_id == one.kind


def test_the_time_is_read_back_by_its_format():
    one = event()
    written = read(one).attributes
    assert written["devTimeFormat"] == "yyyy-MM-dd'T'HH:mm:ss.SSSZ"
    # The same in Python's letters.
    assert datetime.strptime(written["devTime"], "%Y-%m-%dT%H:%M:%S.%f%z") == one.occurred_at


def test_severity_is_a_number_from_1_to_10():
    found = [int(read(event(severity=one)).attributes["sev"]) for one in ("info", "critical")]
    assert found == [1, 10]


def test_only_a_real_address_is_the_source():
    assert read(event(address="10.0.0.1, 10.0.0.2")).attributes["src"] == "10.0.0.1"
    assert "src" not in read(event(address="build-agent")).attributes


def test_logging_in_and_out_are_marked():
    assert read(event_of("bitbucket.user_login_failed")).attributes["isLoginEvent"] == "true"
    assert read(event_of("bitbucket.user_logout")).attributes["isLogoutEvent"] == "true"
    assert "isLoginEvent" not in read(event()).attributes


@pytest.mark.parametrize(
    "line",
    [
        "LEEF:1.0|a|b|1|x|x09|k=v",
        "LEEF:2.0|a|b|1|x|k=v",
        "LEEF:2.0|a|b|1||x09|k=v",
        "LEEF:2.0|a|b|1|x|x09|novalue",
        "LEEF:2.0|a|b|1|x|x09|k=1\tk=2",
        "LEEF:2.0|a|b|1|x|x09|k=1\n",
    ],
)
def test_the_strict_parser_is_strict(line):
    with pytest.raises(LeefError):
        parse(line)


@given(drawn=hostile_events(), room=st.integers(min_value=500, max_value=900))
@example(drawn=event(action="|" * 3000), room=500)
def test_what_is_shortened_for_syslog_is_still_leef_with_its_id_and_its_time(drawn, room):
    body = LeefFormat().encode(drawn)
    shorter = shorten(body, event=drawn, media_type="text/plain", room=room)
    assert shorter is not None
    assert len(shorter) <= room
    written, whole = parse(shorter.decode()), read(drawn)
    assert written.attributes["shortened"] == "true"
    assert written.attributes["event_id"] == drawn.event_id
    for key in ("eventUuid", "devTime", "devTimeFormat", "sev", "cat"):
        assert written.attributes[key] == whole.attributes[key]
