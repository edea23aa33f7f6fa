"""`cef`, read back by a strict parser of its own, and by rsyslog's."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forwarder.formats.cef import CefFormat
from forwarder.model import Actor
from forwarder.sinks.syslog.shorten import shorten
from tests.fakes.events import event, hostile_events, hostile_text
from tests.fakes.kinds import event_of, every_event
from tests.fakes.simulated import simulated
from tests.receivers import liblognorm
from tests.receivers.cef import CefError, parse


def read(one):
    return parse(CefFormat().encode(one).decode())


def plain(text: str) -> str:
    """Return `text` as CEF may hold it: a NUL would end it for many a receiver."""
    return text.replace("\0", " ")


@given(drawn=hostile_events())
@example(drawn=event(actor=Actor(name="a=b c|d \\ suser=mallory\nact=forged")))
def test_hostile_text_comes_back_as_it_was(drawn):
    written = read(drawn)
    assert written.event_class == drawn.kind
    said = {
        "externalId": drawn.event_id,
        "cat": drawn.category,
        "act": drawn.action,
        "suser": (drawn.actor.name if drawn.actor else None) or "",
        "deviceExternalId": drawn.node or "",
        "app": drawn.method or "",
    }
    assert {key: written.extension.get(key, "") for key in said} == {
        key: plain(text) for key, text in said.items()
    }
    if drawn.attributes:
        values = [one.get("value") for one in json.loads(written.extension["cs6"])]
        assert values == [one.value for one in drawn.attributes]


@given(action=hostile_text())
def test_the_name_in_the_header_is_the_action_on_one_line(action):
    one = event(action=action)
    expected = plain(action).replace("\r", " ").replace("\n", " ")
    assert read(one).name == (expected or one.kind)


def test_every_kind_is_cef():
    for one in every_event():
        assert read(one).event_class == one.kind


@pytest.mark.real
def test_rsyslogs_parser_reads_the_same(tmp_path):
    lines = [CefFormat().encode(one) for one in (*every_event(), *simulated())]

    @given(drawn=hostile_events())
    def draw(drawn):
        lines.append(CefFormat().encode(drawn))

    draw()
    assert liblognorm.parse(lines, tmp_path) == [parse(line.decode()) for line in lines]


def test_bitbuckets_own_events_are_atlassians():
    assert (read(event()).vendor, read(event()).product) == ("Soteri", "Security for Bitbucket")
    assert read(event_of("bitbucket.repository_created")).vendor == "Atlassian"


@pytest.mark.parametrize(
    ("severity", "number"), [("info", 1), ("low", 3), ("medium", 5), ("high", 8), ("critical", 10)]
)
def test_severities_are_numbers_up_to_ten(severity, number):
    assert read(event(severity=severity)).severity == number


def test_the_time_is_in_milliseconds_since_1970():
    one = event()
    assert int(read(one).extension["rt"]) == round(one.occurred_at.timestamp() * 1000)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", {"src": "10.0.0.1"}),
        ("10.0.0.1,10.0.0.2", {"src": "10.0.0.1"}),
        ("2001:db8::1", {"c6a2": "2001:db8::1", "c6a2Label": "Source IPv6 Address"}),
        ("build-agent", {"shost": "build-agent"}),
        (None, {}),
    ],
)
def test_an_address_has_the_key_for_its_kind(address, expected):
    keys = ("src", "shost", "c6a2", "c6a2Label")
    found = read(event(address=address)).extension
    assert {key: found[key] for key in keys if key in found} == expected


def test_every_custom_text_has_its_label():
    extension = read(event_of("access.granted")).extension
    labels = {
        key: extension[f"{key}Label"] for key in extension if key in {f"cs{n}" for n in range(9)}
    }
    assert labels == {
        "cs1": "project",
        "cs2": "repository",
        "cs3": "rule",
        "cs4": "objects",
        "cs5": "changes",
        "cs6": "attributes",
    }


@pytest.mark.parametrize(
    "line",
    [
        "CEF:1|a|b|1|x|y|5|",
        "CEF:0|a|b|1|x|y|11|",
        "CEF:0|a|b|1|x|y|5",
        "CEF:0|a|b|1|x|y|5|msg=a=b",
        "CEF:0|a|b|1|x|y|5|msg=\\x",
        "CEF:0|a|b|1|x|y|5|no key",
        "CEF:0|a|b|1|x|y|5|a=1 a=2",
        "CEF:0|a|b|1|x|y|5|a=1\n",
    ],
)
def test_the_strict_parser_is_strict(line):
    with pytest.raises(CefError):
        parse(line)


@given(drawn=hostile_events(), room=st.integers(min_value=500, max_value=900))
@example(drawn=event(action="|" * 3000), room=500)
@example(drawn=event(action="\\" * 3001), room=500)
def test_what_is_shortened_for_syslog_is_still_cef_with_its_id_and_its_time(drawn, room):
    body = CefFormat().encode(drawn)
    shorter = shorten(body, event=drawn, media_type="text/plain", room=room)
    assert shorter is not None
    assert len(shorter) <= room
    written, whole = parse(shorter.decode()), read(drawn)
    assert written.extension["shortened"] == "true"
    assert written.extension["event_id"] == drawn.event_id
    assert written.extension["externalId"] == drawn.event_id
    assert written.extension["rt"] == whole.extension["rt"]
    assert written.severity == whole.severity
