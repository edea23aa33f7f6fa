"""Who runs what."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Replica
from forwarder.pipeline.shares import assignment

HUNDRED = frozenset(f"sources.s{number:03}" for number in range(100))


def shares(plan: dict[str, str]) -> list[int]:
    return sorted(Counter(plan.values()).values())


def test_a_hundred_sources_over_three_replicas_are_even():
    plan = assignment([Replica(name, HUNDRED) for name in "abc"], {})
    assert shares(plan) == [33, 33, 34]


def test_a_replica_that_joins_takes_its_share_and_nothing_else_moves():
    before = assignment([Replica(name, HUNDRED) for name in "ab"], {})
    after = assignment([Replica(name, HUNDRED) for name in "abc"], before)
    assert shares(after) == [33, 33, 34]
    assert {after[name] for name in HUNDRED if after[name] != before[name]} == {"c"}


def test_what_a_dead_replica_had_goes_to_the_others_and_nothing_else_moves():
    before = assignment([Replica(name, HUNDRED) for name in "abc"], {})
    left = {name: holder for name, holder in before.items() if holder != "c"}
    after = assignment([Replica(name, HUNDRED) for name in "ab"], left)
    assert shares(after) == [50, 50]
    assert left.items() <= after.items()


def test_one_source_stays_where_it_is_when_a_replica_joins():
    parts = frozenset({"sources.a"})
    assert assignment([Replica("old", parts), Replica("new", parts)], {"sources.a": "new"}) == {
        "sources.a": "new"
    }


def test_different_kinds_go_to_different_replicas_where_there_are_enough():
    parts = frozenset({"sources.a", "sinks.a", "janitor"})
    plan = assignment([Replica(name, parts) for name in "abc"], {})
    assert shares(plan) == [1, 1, 1]


def test_what_only_one_replica_is_configured_for_it_gets():
    replicas = [Replica("a", frozenset({"sources.x"})), Replica("b", frozenset({"sources.y"}))]
    assert assignment(replicas, {"sources.y": "a"}) == {"sources.x": "a", "sources.y": "b"}


def test_a_replica_that_leaves_is_given_nothing():
    replicas = [Replica("a", frozenset()), Replica("b", HUNDRED)]
    assert shares(assignment(replicas, dict.fromkeys(HUNDRED, "a"))) == [100]


@given(
    names=st.frozensets(
        st.sampled_from([f"{k}.{n}" for k in ("sources", "sinks") for n in range(9)])
    ),
    replicas=st.integers(1, 5),
    data=st.data(),
)
def test_shares_are_even_and_settled_at_once_whoever_holds_what(names, replicas, data):
    living = [Replica(str(number), names) for number in range(replicas)]
    holders = {
        name: data.draw(st.sampled_from([*(each.name for each in living), "dead"]))
        for name in sorted(names)
    }
    plan = assignment(living, holders)
    assert plan.keys() == names
    for kind in ("sources", "sinks"):
        counts = Counter(owner for name, owner in plan.items() if name.startswith(kind))
        per_replica = [counts[each.name] for each in living]
        assert max(per_replica) - min(per_replica) <= 1
    assert assignment(living, plan) == plan
