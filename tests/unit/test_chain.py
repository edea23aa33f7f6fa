"""The chain: what a line says is enough to check it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder import chain
from forwarder.formats.json import VERSION, JsonFormat
from forwarder.model import Event, Link
from tests.fakes.events import event, hostile_events, linked


@given(drawn=hostile_events(), before=st.integers(0, 10**15))
def test_what_the_digest_covers_can_be_had_from_the_line_alone(drawn: Event, before: int):
    head = Link(sequence=before, digest="a" * 64)
    content = msgspec.json.encode(drawn)
    its = chain.link(head, content)
    stored = chain.linked(content, its)
    line = JsonFormat().encode(msgspec.json.decode(stored, type=Event))
    assert chain.taken_apart(line) == (VERSION, content, its)


@given(drawn=hostile_events())
def test_a_linked_event_is_stored_as_msgspec_encodes_it(drawn: Event):
    (kept,) = linked([drawn])
    assert chain.linked(msgspec.json.encode(drawn), kept.chain) == msgspec.json.encode(kept)


@given(drawn=hostile_events())
def test_a_line_without_a_chain_has_none_whatever_its_original_says(drawn: Event):
    forged = b'{"x":{},"chain":{"sequence":1,"digest":"%b"}}' % (b"a" * 64)
    drawn = msgspec.structs.replace(drawn, original=msgspec.Raw(forged))
    version, content, link = chain.taken_apart(JsonFormat().encode(drawn))
    assert (version, content, link) == (VERSION, msgspec.json.encode(drawn), None)


def test_the_digest_of_a_stored_event_never_changes():
    """Lines that are in files, and digests that auditors hold, outlive releases."""
    (first, second) = linked([event(1), event(2)])
    assert first.chain == Link(
        sequence=1,
        digest="3a6411bdddaa014c70bfd8a120813a349f4672e38eb83469b284570b47d9118a",
    )
    assert second.chain == Link(
        sequence=2,
        digest="4776e34972ddd1436fda20d46a59d883939c48431832c82359395b899cf38cfa",
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b'{"version":1}',
        b'{"version":1,"event_id":"x"',
        b'{"event_id":"x","version":1}',
        b'{"version":-1,"event_id":"x"}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_line_of_the_json_format_is_refused(line: bytes):
    with pytest.raises(ValueError, match="no line of the json format"):
        chain.taken_apart(line)
