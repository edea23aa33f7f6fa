"""What was appended last is at hand for sinks that keep up."""

from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.model import Stored
from forwarder.store.recent import Recent
from tests.fakes.events import events, stored

EVENTS = [stored(each) for each in events(60)]
SIZE = len(EVENTS[0].body)


def told(recent: Recent, position: int, *, limit: int = 100, max_bytes: int = 10**9):
    batch = recent.after(position, limit=limit, max_bytes=max_bytes)
    return None if batch is None else dict(zip(batch.positions, batch.events, strict=True))


def at(first: int, last: int) -> dict[int, Stored]:
    """Return the events at these places."""
    return {place: EVENTS[place - 1] for place in range(first, last + 1)}


def test_what_comes_after_a_position_is_there_over_several_appends():
    recent = Recent()
    recent.add(1, EVENTS[:10])
    recent.add(11, EVENTS[10:30])
    assert told(recent, 0) == at(1, 30)
    assert told(recent, 7) == at(8, 30)
    assert told(recent, 10, limit=3) == at(11, 13)
    assert told(recent, 30) is None


def test_what_another_process_appended_in_between_is_not_skipped():
    recent = Recent()
    recent.add(1, EVENTS[:10])
    recent.add(21, EVENTS[20:30])
    assert told(recent, 5) == at(6, 10)
    assert told(recent, 10) is None
    assert told(recent, 15) is None
    assert told(recent, 20) == at(21, 30)


def test_the_oldest_go_where_there_are_too_many():
    recent = Recent(most_bytes=25 * (SIZE + 20))
    recent.add(1, EVENTS[:10])
    recent.add(11, EVENTS[10:20])
    recent.add(21, EVENTS[20:30])
    assert told(recent, 0) is None
    assert told(recent, 10) == at(11, 30)


def test_a_single_append_that_is_too_large_is_not_kept():
    recent = Recent(most_bytes=SIZE)
    recent.add(1, EVENTS[:10])
    assert told(recent, 0) is None


def test_an_event_larger_than_a_batch_comes_alone():
    recent = Recent()
    recent.add(1, EVENTS[:10])
    assert told(recent, 0, max_bytes=1) == at(1, 1)


@settings(deadline=None, derandomize=True)
@given(
    runs=st.lists(st.integers(1, 15), max_size=4),
    position=st.integers(0, 60),
    limit=st.integers(1, 70),
    batch=st.integers(1, 70),
)
def test_it_gives_what_a_table_of_all_events_would(runs, position, limit, batch):
    recent, last = Recent(), 0
    for length in runs:
        recent.add(last + 1, EVENTS[last : last + length])
        last += length
    bodies = [len(event.body) for event in EVENTS]
    max_bytes = sum(bodies[:batch])
    wanted = {}
    for place in range(position + 1, min(position + limit, last) + 1):
        if (
            wanted
            and sum(len(each.body) for each in wanted.values()) + bodies[place - 1] > max_bytes
        ):
            break
        wanted[place] = EVENTS[place - 1]
    assert told(recent, position, limit=limit, max_bytes=max_bytes) == (wanted or None)
