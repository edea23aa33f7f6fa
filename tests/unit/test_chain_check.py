"""Following a chain: whatever is done to the lines shows."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.chain import Check
from forwarder.formats.json import VERSION, JsonFormat
from forwarder.model import Event, Link
from tests.fakes.events import event, events, linked

LINES = [JsonFormat().encode(each) for each in linked(events(9))]
HEAD = linked(events(9))[-1].chain
SPACES = b" \t\r\n"


def problems(lines: list[bytes], **heads: Link) -> list[str]:
    check = Check(versions={VERSION}, heads=heads)
    said = [check.add(line, f"a:{number}") for number, line in enumerate(lines, 1)]
    return [problem for problem in said if problem] + list(check.end())


def lines_of(*given_events: Event) -> list[bytes]:
    return [JsonFormat().encode(each) for each in given_events]


def test_what_the_sink_has_written_is_whole():
    assert problems(LINES, bitbucket=HEAD) == []


def test_several_sources_are_followed_side_by_side():
    mixed = [event(number, source=f"s{number % 3}") for number in range(1, 30)]
    lines = lines_of(*linked(mixed))
    assert problems(lines) == []
    del lines[10]
    (problem,) = problems(lines)
    assert problem == "1 event (4) is missing before it, after a:8"


@given(st.integers(0, 8), st.data())
def test_any_changed_byte_shows(which: int, data: st.DataObject):
    line = bytearray(LINES[which])
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[place]))
    assert problems([*LINES[:which], bytes(line), *LINES[which + 1 :]], bitbucket=HEAD)


@given(st.lists(st.sampled_from(LINES), max_size=12).filter(lambda lines: lines != LINES))
def test_any_other_choice_or_order_of_the_lines_shows(lines: list[bytes]):
    assert problems(lines, bitbucket=HEAD) or lines == LINES[-len(lines) :]


@given(st.integers(0, 8), st.text(max_size=5))
def test_a_line_with_a_digest_made_anew_shows_at_the_next(which: int, action: str):
    changed = events(9)
    changed[which] = msgspec.structs.replace(changed[which], action=action)
    lines = lines_of(*linked(changed))
    forged = [*LINES[:which], lines[which], *LINES[which + 1 :]]
    assert len(problems(forged, bitbucket=HEAD)) == 1


def test_a_whole_chain_that_is_made_anew_shows_against_a_head_from_elsewhere():
    changed = [event(1, action="Nothing happened"), *events(8, first=2)]
    assert problems(lines_of(*linked(changed)), bitbucket=HEAD) == [
        "has another digest than the one given for bitbucket",
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [*LINES[:3], LINES[3].replace(b"alice", b"mallo"), *LINES[4:]],
            ["is not what its digest says: it was changed, or the line before it was, a:3"],
        ),
        ([*LINES[:3], *LINES[4:]], ["1 event (4) is missing before it, after a:3"]),
        ([*LINES[:3], *LINES[6:]], ["3 events (4 to 6) are missing before it, after a:3"]),
        ([*LINES[:4], LINES[3], *LINES[4:]], ["is there twice: 4 was there before"]),
        (
            [*LINES[:3], LINES[4], LINES[3], *LINES[5:]],
            ["1 event (4) is missing before it, after a:3", "is out of order: 4 comes after 5"],
        ),
        ([*LINES[:3], b"", *LINES[3:]], ["is no line of the json format"]),
        ([*LINES[:3], LINES[3][:-9], *LINES[4:]], [
            "is no line of the json format", "1 event (4) is missing before it, after a:3",
        ]),
        (
            [*LINES[:3], LINES[3].replace(b'"version":1', b'"version":2'), *LINES[4:]],
            [
                "is of version 2, which this release does not know",
                "1 event (4) is missing before it, after a:3",
            ],
        ),
        ([*LINES, *lines_of(event(10))], ["has no chain, but lines before it have"]),
        (
            [*LINES[:4], *lines_of(*linked(events(2, first=20)))],
            ["begins a new chain; the one before ended with 4, a:4"],
        ),
        ([*LINES, LINES[0]], ["is there twice: 1 was there before"]),
    ],
)  # fmt: skip
def test_it_says_what_is_wrong(lines: list[bytes], said: list[str]):
    assert problems(lines) == said


def test_what_is_cut_off_at_the_end_shows_against_a_head_from_elsewhere():
    assert problems(LINES[:5]) == []
    assert problems(LINES[:5], bitbucket=HEAD) == [
        "bitbucket: the line of sequence 9 with the digest given is not there; the last one is 5"
    ]


def test_a_head_of_a_source_without_lines_is_not_met():
    (problem,) = problems([], bitbucket=HEAD)
    assert problem.endswith("the last one is 0")


def test_lines_from_before_the_chain_are_counted_and_left():
    check = Check(versions={VERSION}, heads={})
    for number, line in enumerate([*lines_of(*events(3, first=50)), *LINES]):
        assert check.add(line, f"a:{number}") == ""
    assert (check.sources["bitbucket"].unlinked, check.sources["bitbucket"].lines) == (3, 12)


def test_a_file_whose_oldest_parts_are_gone_begins_in_the_middle():
    check = Check(versions={VERSION}, heads={"bitbucket": HEAD})
    assert [check.add(line, "a") for line in LINES[4:]] == [""] * 5
    assert check.sources["bitbucket"].first == linked(events(9))[4].chain
    assert list(check.end()) == []


def test_memory_is_bounded_however_many_gaps_there_are():
    check = Check(versions={VERSION}, heads={})
    for number in range(1, 60_000, 2):
        its = Link(sequence=number, digest="a" * 64)
        check.add(JsonFormat().encode(event(1, chain=its)), "a")
    assert len(check.sources["bitbucket"].missing) <= 10_001
