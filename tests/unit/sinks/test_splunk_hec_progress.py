import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Rejection
from forwarder.sinks.splunk_hec.progress import Ack, Fate, Progress
from tests.fakes.events import event, events


def fates() -> st.SearchStrategy[list]:
    refused = st.just("refused")
    return st.lists(
        st.one_of(st.sampled_from(Fate), st.builds(Ack, st.just("c"), st.integers(0, 4)), refused),
        min_size=1,
        max_size=12,
    )


def noted(of_each: list) -> Progress:
    progress = Progress()
    sent = events(len(of_each))
    progress.begin(sent)
    for place, fate in enumerate(of_each):
        rejection = Rejection(sent[place].event_id, "malformed", f"number {place}")
        progress.mark(place, place + 1, rejection if fate == "refused" else fate)
    return progress


def restarted(progress: Progress) -> Progress:
    return Progress.recall(json.loads(json.dumps(progress.to_memo())))


def to_send(progress: Progress) -> dict[int, bool]:
    """Return the place of each event that is still to be sent, and whether it may have arrived."""
    found = {}
    while piece := progress.next_piece():
        found.update(dict.fromkeys(range(piece.start, piece.stop), piece.is_doubtful))
        progress.mark(piece.start, piece.stop, Fate.DONE)
    return found


@given(fates())
def test_a_restart_forgets_nothing_of_the_same_batch(of_each):
    before, after = noted(of_each), restarted(noted(of_each))
    after.begin(events(len(of_each)))
    assert after.pending() == before.pending()
    assert after.rejections() == before.rejections()
    assert to_send(after) == to_send(before)


@given(fates(), st.integers(1, 5))
def test_a_longer_batch_adds_what_was_never_sent(of_each, more):
    before, after = noted(of_each), restarted(noted(of_each))
    after.begin(events(len(of_each) + more))
    added = dict.fromkeys(range(len(of_each), len(of_each) + more), False)
    assert to_send(after) == {**to_send(before), **added}


@given(fates(), st.data())
def test_a_shorter_batch_skips_only_what_is_known_to_be_there(of_each, data):
    length = data.draw(st.integers(1, len(of_each)))
    after = restarted(noted(of_each))
    after.begin(events(length))
    skipped = set(range(length)) - to_send(after).keys()
    assert all(of_each[place] not in (Fate.UNSENT, Fate.AGAIN) for place in skipped)


@given(fates())
def test_another_batch_is_sent_whole_and_as_new(of_each):
    after = restarted(noted(of_each))
    after.begin(events(6, first=100))
    assert after.pending() == []
    assert to_send(after) == dict.fromkeys(range(6), False)


@given(fates())
def test_what_expires_is_sent_again_as_doubtful_and_nothing_else_is(of_each):
    progress = noted(of_each)
    waiting = {place for place, fate in enumerate(of_each) if isinstance(fate, Ack)}
    assert progress.expire() == len(waiting)
    assert progress.pending() == []
    sent = to_send(progress)
    assert all(sent[place] for place in waiting)
    assert to_send(noted(of_each)) == {k: v for k, v in sent.items() if k not in waiting}


def test_an_ack_settles_only_those_who_wait_for_it():
    mine, other, stranger = Ack("a", 0), Ack("b", 0), Ack("c", 0)
    progress = noted([mine, mine, other, other])
    progress.acknowledge(other)
    progress.acknowledge(stranger)
    assert progress.pending() == [mine]
    progress.acknowledge(mine)
    assert to_send(progress) == {}


def test_the_same_first_event_with_another_behind_it_counts_as_doubtful():
    progress = noted([Fate.DONE, Fate.DONE, Fate.DONE])
    progress.begin([event(1), event(7), event(8)])
    assert to_send(progress) == {0: True, 1: True, 2: True}


@pytest.mark.parametrize("memo", [None, {}, [{"first": "a"}], [{"count": "x"}], 7])
def test_a_memo_of_another_kind_is_told_apart(memo):
    with pytest.raises(ValueError, match=r"."):
        Progress.recall(memo)
