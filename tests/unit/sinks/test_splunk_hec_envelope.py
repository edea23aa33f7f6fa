import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.formats import FORMATS
from forwarder.model import Event
from forwarder.sinks.splunk_hec.envelope import Envelope
from tests.fakes.events import event, hostile_events, hostile_text
from tests.receivers.hec import KEYS, Hec, split

JSON = FORMATS["json"]


class TextFormat:
    media_type = "text/plain"

    def encode(self, event: Event) -> bytes:
        return f"CEF:0|{event.action}".encode()


def received(body: bytes) -> list[dict]:
    """What the strict receiver indexes of `body`, all of which it must take."""
    hec = Hec(indexes=["security"], max_request_bytes=10**9)
    envelopes, refused = hec._parse(body)
    assert refused is None
    assert len(envelopes) == body.count(b'"fields":{"event_id":')
    return envelopes


@given(st.lists(hostile_events(), min_size=1, max_size=4), st.booleans())
def test_what_the_receiver_reads_back_is_what_went_in(events, possible_duplicate):
    envelope = Envelope(JSON, index="security", source="s", sourcetype="t")
    body = b"\n".join(envelope.encode(e, possible_duplicate=possible_duplicate) for e in events)
    texts = list(split(body))
    assert len(texts) == len(events)
    for text, sent in zip(texts, events, strict=True):
        found = json.loads(text)
        assert found.keys() <= KEYS
        assert found["fields"]["event_id"] == sent.event_id
        assert found["fields"]["kind"] == sent.kind
        assert found["fields"].get("possible_duplicate", False) is possible_duplicate
        assert json.dumps(found["event"]) == json.dumps(json.loads(JSON.encode(sent)))


@given(hostile_events())
def test_no_envelope_has_a_line_end_in_it(sent):
    encoded = Envelope(JSON).encode(sent)
    assert len(encoded.splitlines()) == 1
    assert b"\0" not in encoded


@given(hostile_text())
def test_text_arrives_as_one_json_string(text):
    sent = event(1, action=text)
    (found,) = received(Envelope(TextFormat(), index="security").encode(sent))
    assert found["event"] == f"CEF:0|{text}"


@given(hostile_text(), hostile_text())
def test_configured_names_are_quoted(source, host):
    (text,) = split(Envelope(JSON, source=source, host=host).encode(event(1)))
    found = json.loads(text)
    assert (found["source"], found["host"]) == (source, host)


@given(st.integers(0, (2**31 - 2) * 10**6))
def test_time_is_the_events_own_to_the_millisecond(microseconds):
    occurred_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    (text,) = split(Envelope(JSON).encode(event(1, occurred_at=occurred_at)))
    found = json.loads(text)["time"]
    assert found == pytest.approx(microseconds / 10**6, abs=0.000501, rel=0)


def test_milliseconds_are_written_as_the_vendor_does():
    occurred_at = datetime(2015, 6, 1, 16, 4, 15, 500000, tzinfo=UTC)
    assert b'"time":1433174655.500,' in Envelope(JSON).encode(event(1, occurred_at=occurred_at))


@pytest.mark.parametrize(
    "occurred_at",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
    ids=["year 1", "before 1970", "after 2038", "year 9999"],
)
def test_a_time_that_splunk_cannot_hold_is_left_to_splunk_and_marked(occurred_at):
    sent = event(1, occurred_at=occurred_at)
    (found,) = received(Envelope(JSON, index="security").encode(sent))
    assert "time" not in found
    assert found["fields"]["time_out_of_range"] is True
    assert found["event"]["time"] == json.loads(JSON.encode(sent))["time"]


def test_the_host_is_the_bitbucket_that_the_event_names():
    (text,) = split(Envelope(JSON).encode(event(1, system="https://git.example.com:7990/x")))
    assert json.loads(text)["host"] == "git.example.com"


@pytest.mark.parametrize("system", [None, "", "no address", "http://[broken", "http://"])
def test_without_a_host_to_name_the_key_is_left_out(system):
    (text,) = split(Envelope(JSON).encode(event(1, system=system)))
    assert "host" not in json.loads(text)


def test_a_configured_host_goes_before_the_events_own():
    (text,) = split(Envelope(JSON, host="bitbucket-prod").encode(event(1)))
    assert json.loads(text)["host"] == "bitbucket-prod"


def test_what_is_not_configured_is_left_to_the_token():
    (text,) = split(Envelope(JSON).encode(event(1, system=None)))
    assert json.loads(text).keys() == {"time", "fields", "event"}
