"""Headers: read back by a strict parser that knows nothing of ours."""

import re
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Event
from forwarder.sinks.syslog.message import BOM, SEVERITIES, Rfc3164, Rfc5424, without_controls
from tests.fakes.events import event
from tests.receivers.rfc5424 import parse

SD_ID = "soteri@32473"
HOSTILE = 'a"b\\c]d\r\ne\x00f\x1b[31mg\u2028h]] x="1" \U0001f600\ud800'


def rfc5424(**changes: object) -> Rfc5424:
    fields: dict[str, object] = {
        "facility": "local0",
        "app_name": "soteri-forwarder",
        "hostname": None,
        "own_host": "here.example.com",
        "structured_data": SD_ID,
        "bom": False,
    }
    return Rfc5424(**{**fields, **changes})  # type: ignore[arg-type]


def rfc3164(**changes: object) -> Rfc3164:
    fields: dict[str, object] = {
        "facility": "local0",
        "app_name": "soteri-forwarder",
        "hostname": None,
        "own_host": "here.example.com",
        "zone": UTC,
    }
    return Rfc3164(**{**fields, **changes})  # type: ignore[arg-type]


hostile_text = st.text(alphabet=st.characters(), max_size=400)
hostile_events = st.builds(
    event,
    kind=hostile_text,
    source=hostile_text,
    system=st.none() | hostile_text,
    node=st.none() | hostile_text,
    severity=st.sampled_from(list(SEVERITIES)),
    occurred_at=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11))])),
)


def read_back(text: str) -> str:
    """What a value looks like to a receiver: control characters escaped, surrogates replaced."""
    return without_controls(text.encode("utf-8", "replace")).decode()


@given(hostile_events, hostile_text, hostile_text)
def test_no_text_of_an_event_breaks_the_header_of_rfc5424(one: Event, app_name, hostname):
    header = rfc5424(app_name=app_name, hostname=hostname)(one)
    assert b"\n" not in header
    parsed = parse(header + b"{}")
    assert parsed.message == b"{}"
    assert parsed.time == one.occurred_at
    assert parsed.structured_data == {
        SD_ID: {
            "event_id": one.event_id,
            "source": read_back(one.source),
            "kind": read_back(one.kind),
            "severity": one.severity,
        }
    }


@given(hostile_events, hostile_text, hostile_text)
def test_no_text_of_an_event_breaks_the_header_of_rfc3164(one: Event, app_name, hostname):
    header = rfc3164(app_name=app_name, hostname=hostname)(one)
    assert re.fullmatch(
        rb"<\d{1,3}>(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123]\d \d\d:\d\d:\d\d"
        rb" [!-~]{1,255} [A-Za-z0-9_.-]{1,32}\[[!-~]{1,64}\]: ",
        header,
    )


def test_a_header_of_rfc5424_reads_as_documented():
    one = event(1, system="https://bitbucket.example.com:8443/bitbucket", node="8767044c")
    assert rfc5424()(one) == (
        b"<131>1 2026-01-02T03:04:06.678000Z bitbucket.example.com soteri-forwarder - hook.skipped "
        b'[soteri@32473 event_id="%b" source="bitbucket" kind="hook.skipped" severity="high"] '
        % one.event_id.encode()
    )


def test_a_header_of_rfc3164_reads_as_documented():
    one = event(1, system="https://bitbucket.example.com:8443/bitbucket")
    assert rfc3164()(one) == (
        b"<131>Jan  2 03:04:06 bitbucket soteri-forwarder[%b]: " % one.event_id.encode()
    )


def test_rfc3164_gives_the_time_in_the_zone_of_the_machine():
    east = timezone(timedelta(hours=9))
    assert b">Jan  2 12:04:06 " in rfc3164(zone=east)(event(1))


@pytest.mark.parametrize(
    ("at", "hours", "written"),
    [
        (datetime(9999, 12, 31, 23, 30, tzinfo=UTC), 9, b">Dec 31 23:30:00 "),
        (datetime(1, 1, 1, 0, 30, tzinfo=UTC), -5, b">Jan  1 00:30:00 "),
    ],
)
def test_a_time_that_no_calendar_has_in_the_zone_is_given_in_utc(at, hours, written):
    zone = timezone(timedelta(hours=hours))
    assert written in rfc3164(zone=zone)(event(occurred_at=at))


@pytest.mark.parametrize(
    ("severity", "code"), [("critical", 2), ("high", 3), ("medium", 4), ("low", 5), ("info", 6)]
)
def test_severity_and_facility_make_the_priority(severity, code):
    parsed = parse(rfc5424(facility="audit")(event(severity=severity)))
    assert (parsed.facility, parsed.severity) == (13, code)


@pytest.mark.parametrize(
    ("changes", "hostname"),
    [
        ({"system": "https://bitbucket.example.com/x", "node": "n1"}, "bitbucket.example.com"),
        ({"system": "not a url", "node": "n1"}, "n1"),
        ({"system": "http://[broken", "node": "n1"}, "n1"),
        ({"system": None, "node": "n1"}, "n1"),
        ({"system": None, "node": None}, "here.example.com"),
        ({"system": "http://[::1]:7990", "node": None}, "::1"),
    ],
)
def test_the_host_is_the_event_s_own_where_it_says_so(changes, hostname):
    assert parse(rfc5424()(event(**changes))).hostname == hostname


def test_a_configured_host_is_used_for_every_event():
    one = event(system="https://bitbucket.example.com", node="n1")
    assert parse(rfc5424(hostname="relay")(one)).hostname == "relay"


def test_rfc3164_keeps_an_address_whole_and_drops_a_domain():
    assert b" 10.1.2.3 " in rfc3164(hostname="10.1.2.3")(event())
    assert b" here soteri" in rfc3164()(event(system=None, node=None))


def test_fields_are_cut_at_the_limits_of_the_rfc():
    parsed = parse(rfc5424(app_name="a" * 99, hostname="h" * 300)(event(kind="k" * 99)))
    assert (len(parsed.app_name or ""), len(parsed.hostname or "")) == (48, 255)
    assert parsed.msgid == "k" * 32


def test_without_structured_data_there_is_a_nil():
    assert parse(rfc5424(structured_data=None)(event()) + b"x").structured_data == {}


def test_the_byte_order_mark_stands_before_the_message_only_if_asked_for():
    assert parse(rfc5424(bom=True)(event()) + b"x").message == BOM + b"x"
    assert parse(rfc5424()(event()) + b"x").message == b"x"


def test_two_events_differ_in_time_and_id_though_the_rest_is_cached():
    header = rfc5424()
    first, second = parse(header(event(1))), parse(header(event(2)))
    assert first.time != second.time
    assert first.structured_data[SD_ID]["event_id"] == event(1).event_id
    assert second.structured_data[SD_ID]["event_id"] == event(2).event_id


def test_times_before_1970_and_in_other_zones_are_given_in_utc():
    old = datetime(1969, 7, 20, 22, 17, 40, 5, tzinfo=timezone(timedelta(hours=2)))
    assert b" 1969-07-20T20:17:40.000005Z " in b" " + rfc5424()(event(occurred_at=old))[7:]


def test_control_characters_become_octal_and_tabs_stay():
    assert without_controls(b"a\nb\x00c\x1b[1m\x7f\td\xc3\xa4") == (
        b"a#012b#000c#033[1m#177\td\xc3\xa4"
    )


def test_hostile_text_is_replaced_byte_for_byte_as_documented():
    parsed = parse(rfc5424()(event(source=HOSTILE)))
    assert parsed.structured_data[SD_ID]["source"] == (
        'a"b\\c]d#015#012e#000f#033[31mg\u2028h]] x="1" \U0001f600?'
    )


def test_a_message_of_nothing_but_controls_is_written_in_a_moment():
    began = time.thread_time()
    written = without_controls(bytes(range(32)) * 60_000)
    assert time.thread_time() - began < 0.7
    assert written[:9] == b"#000#001#"
    assert len(written) == 60_000 * (31 * 4 + 1)
