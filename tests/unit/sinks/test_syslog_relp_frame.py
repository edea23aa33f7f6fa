"""RELP's frames against a parser that knows nothing of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.sinks.syslog.relp_frame import (
    LARGEST_ANSWER,
    Frame,
    FrameError,
    FrameReader,
    encode,
    following,
)
from tests.receivers.relp import frame, parse_relp

numbers = st.integers(0, 999_999_999)
words = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=32)
data = st.one_of(st.binary(max_size=300), st.sampled_from([b"\n", b" ", b"\n\n1 rsp 0\n", b"0"]))
frames = st.lists(st.tuples(numbers, words, data), max_size=8)


@given(frames)
def test_what_is_encoded_is_the_grammar_s(sent):
    stream = b"".join(encode(txnr, word.encode(), said) for txnr, word, said in sent)
    assert list(parse_relp(stream)) == sent


@given(frames, st.lists(st.integers(1, 40), min_size=1))
def test_frames_are_read_whole_however_they_are_cut(sent, sizes):
    stream = b"".join(frame(txnr, word.encode(), said) for txnr, word, said in sent)
    reader = FrameReader()
    got: list[Frame] = []
    place, turn = 0, 0
    while place < len(stream):
        size = sizes[turn % len(sizes)]
        got += reader.read(stream[place : place + size])
        place, turn = place + size, turn + 1
    assert got == [(txnr, word.encode(), said) for txnr, word, said in sent]


@given(frames, st.binary(min_size=1, max_size=40))
def test_garbage_is_refused_or_waited_on_and_never_changes_what_came_before(sent, garbage):
    stream = b"".join(frame(txnr, word.encode(), said) for txnr, word, said in sent)
    reader = FrameReader()
    assert len(reader.read(stream)) == len(sent)
    try:
        more = reader.read(garbage)
    except FrameError:
        return
    # Nothing is made up: leading zeros apart, what was read is what was said.
    assert sum(len(frame(*one)) for one in more) <= len(garbage)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b" 1 rsp 0\n",
        b"1  rsp 0\n",
        b"1234567890 rsp 0\n",
        b"1 r5p 0\n",
        b"1 rsp 0 \n",
        b"1 rsp 6 200 OK!",
        b"1 rsp 1234567890 x",
        b"-1 rsp 0\n",
        b"\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_what_is_no_frame_is_refused_at_once(said):
    with pytest.raises(FrameError):
        FrameReader().read(said)


def test_an_answer_without_an_end_is_refused_before_it_fills_the_memory():
    with pytest.raises(FrameError, match="bytes"):
        FrameReader().read(b"1 rsp %d 2" % (LARGEST_ANSWER + 1))


def test_numbers_begin_again_after_the_last():
    assert following(1) == 2
    assert following(999_999_998) == 999_999_999
    assert following(999_999_999) == 1
