"""What was appended last is at hand for sinks that keep up, and those are not run away from."""

from collections.abc import Sequence

import anyio
import pytest
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from forwarder.model import Batch, Stored
from forwarder.store.recent import PATIENCE, Recent
from tests.fakes.events import events, stored

LEAST, MOST = PATIENCE

EVENTS = [stored(each) for each in events(60)]
SIZE = len(EVENTS[0].body)


def add(recent: Recent, first: int, events: Sequence[Stored]) -> None:
    recent.add(first, events, sum(len(event.body) for event in events))


def told(recent: Recent, position: int, *, limit: int = 100, max_bytes: int = 10**9):
    batch = recent.after(position, limit=limit, max_bytes=max_bytes)
    return None if batch is None else dict(zip(batch.positions, batch.events, strict=True))


def at(first: int, last: int) -> dict[int, Stored]:
    """Return the events at these places."""
    return {place: EVENTS[place - 1] for place in range(first, last + 1)}


def test_what_comes_after_a_position_is_there_over_several_appends():
    recent = Recent()
    add(recent, 1, EVENTS[:10])
    add(recent, 11, EVENTS[10:30])
    assert told(recent, 0) == at(1, 30)
    assert told(recent, 7) == at(8, 30)
    assert told(recent, 10, limit=3) == at(11, 13)
    assert told(recent, 30) is None


def test_what_another_process_appended_in_between_is_not_skipped():
    recent = Recent()
    add(recent, 1, EVENTS[:10])
    add(recent, 21, EVENTS[20:30])
    assert told(recent, 5) == at(6, 10)
    assert told(recent, 10) is None
    assert told(recent, 15) is None
    assert told(recent, 20) == at(21, 30)


def test_the_oldest_go_where_there_are_too_many():
    recent = Recent(most_bytes=25 * (SIZE + 20))
    add(recent, 1, EVENTS[:10])
    add(recent, 11, EVENTS[10:20])
    add(recent, 21, EVENTS[20:30])
    assert told(recent, 0) is None
    assert told(recent, 10) == at(11, 30)


def test_a_single_append_that_is_too_large_is_not_kept():
    recent = Recent(most_bytes=SIZE)
    add(recent, 1, EVENTS[:10])
    assert told(recent, 0) is None


def test_an_event_larger_than_a_batch_comes_alone():
    recent = Recent()
    add(recent, 1, EVENTS[:10])
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
        add(recent, last + 1, EVENTS[last : last + length])
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


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def full() -> Recent:
    """Return what holds three tens of events, each of them all that a follower may have left."""
    recent = Recent(most_bytes=31 * SIZE)
    for first in (1, 11, 21):
        add(recent, first, EVENTS[first - 1 : first + 9])
    return recent


def batch(first: int, last: int) -> Batch:
    return Batch(tuple(at(first, last).values()), tuple(range(first, last + 1)))


async def seconds_until_near(recent: Recent) -> float:
    began = anyio.current_time()
    await recent.near()
    return anyio.current_time() - began


async def test_nobody_is_waited_for_where_nobody_follows():
    assert await seconds_until_near(full()) == 0


async def test_who_follows_is_waited_for_until_it_is_near():
    recent = full()
    recent.takes("splunk", batch(1, 5))
    near: list[str] = []

    async def wait() -> None:
        await recent.near()
        near.append("splunk")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        for last in (5, 10, 15):
            await anyio.wait_all_tasks_blocked()
            assert near == []
            recent.settled("splunk", last)
        await anyio.wait_all_tasks_blocked()
        assert near == []
        recent.settled("splunk", 20)
    assert near == ["splunk"]


async def test_the_slowest_of_those_who_follow_is_waited_for():
    recent = full()
    for sink in ("file", "splunk"):
        recent.takes(sink, batch(1, 30))
    recent.settled("file", 30)
    assert await seconds_until_near(recent) == pytest.approx(MOST)


async def test_who_does_not_come_in_time_is_waited_for_once():
    recent = full()
    recent.takes("splunk", batch(1, 10))
    assert await seconds_until_near(recent) == pytest.approx(MOST)
    assert await seconds_until_near(recent) == 0
    recent.settled("splunk", 1)
    assert await seconds_until_near(recent) == 0


async def test_who_has_to_read_the_database_is_not_waited_for():
    recent = full()
    add(recent, 31, EVENTS[30:40])  # the first ten go
    recent.takes("splunk", batch(11, 12))
    recent.takes("splunk", batch(1, 10))
    assert await seconds_until_near(recent) == 0


async def test_who_catches_up_again_is_waited_for_again():
    recent = full()
    recent.takes("splunk", batch(1, 10))
    await recent.near()
    recent.takes("splunk", batch(11, 20))
    assert await seconds_until_near(recent) == pytest.approx(LEAST)


@pytest.mark.parametrize(("pace", "waited"), [(LEAST / 2, LEAST), (0.5, 0.5), (3600, MOST)])
async def test_an_append_waits_no_longer_than_it_took_to_come_to_it(pace, waited):
    recent = full()
    await recent.near()
    await anyio.sleep(pace)
    recent.takes("splunk", batch(1, 10))
    assert await seconds_until_near(recent) == pytest.approx(waited)
