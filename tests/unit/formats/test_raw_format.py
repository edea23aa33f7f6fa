from hypothesis import given

from forwarder.formats.raw import RawFormat
from tests.fakes.events import hostile_events


@given(drawn=hostile_events())
def test_the_record_goes_out_byte_for_byte(drawn):
    assert RawFormat().encode(drawn) == bytes(drawn.original)
