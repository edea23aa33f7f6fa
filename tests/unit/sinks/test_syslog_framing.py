"""Frames come apart again exactly where they were put together."""

from hypothesis import given
from hypothesis import strategies as st

from forwarder.sinks.syslog.framing import line_framed, octet_counted
from forwarder.sinks.syslog.message import without_controls
from tests.receivers.rfc5424 import unframe

messages = st.lists(st.binary(max_size=300), max_size=20)


@given(messages.map(lambda found: [b"<1>" + one for one in found]))
def test_octet_counted_messages_come_apart_whatever_is_in_them(sent):
    assert unframe(octet_counted(sent)) == sent


@given(messages)
def test_lines_come_apart_because_no_message_keeps_a_line_end(sent):
    safe = [without_controls(one) for one in sent]
    assert line_framed(safe).split(b"\n") == [*safe, b""]
