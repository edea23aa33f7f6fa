"""CEF and LEEF through a syslog header and its frames, read back on the other side."""

import re

import pytest
from hypothesis import given

from forwarder.formats import FORMATS
from forwarder.sinks.syslog.framing import FRAMINGS
from forwarder.sinks.syslog.message import Rfc5424, without_controls
from tests.fakes.events import hostile_events
from tests.receivers import cef, leef, rfc5424

header = Rfc5424(
    facility="local0",
    app_name="soteri-forwarder",
    hostname=None,
    own_host="here",
    structured_data="soteri@32473",
    bom=False,
)


def unframed(name: str, frame: bytes) -> bytes:
    """Return the one message in a frame, as RFC 6587 reads it."""
    if name == "lf":
        message, end, rest = frame.partition(b"\n")
        assert (end, rest) == (b"\n", b"")
        return message
    length, _, message = frame.partition(b" ")
    assert int(length) == len(message)
    return message


def controls_kept_visible(text: str) -> str:
    """Return text as a receiver gets it: control characters as # and three octal digits."""
    return re.sub(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]", lambda one: f"#{ord(one[0]):03o}", text)


@pytest.mark.parametrize("framing", FRAMINGS)
@given(drawn=hostile_events())
def test_hostile_text_comes_through_header_and_frame(framing, drawn):
    for name, line_format in FORMATS.items():
        message = header(drawn) + without_controls(line_format.encode(drawn))
        parsed = rfc5424.parse(unframed(framing, FRAMINGS[framing]([message])))
        assert parsed.msgid == drawn.kind
        assert parsed.structured_data["soteri@32473"]["event_id"] == drawn.event_id
        text = parsed.message.decode()
        if name == "cef":
            action = cef.parse(text).extension.get("act", "")
            assert action == controls_kept_visible(drawn.action.replace("\0", " "))
        elif name == "leef":
            action = leef.parse(text).attributes.get("action", "")
            plain = re.sub("[\t\r\n\0]", " ", drawn.action)
            assert action == controls_kept_visible(plain)
