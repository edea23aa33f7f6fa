"""A plan says what it does before it does it, and does no more."""

import pytest

from forwarder.errors import AccessError
from forwarder.provision.plan import (
    Difference,
    Step,
    carry_out,
    differences,
    lines,
    pending,
    summary,
)


def step(verb: str, what: str, done: list[str]) -> Step:
    act = None if verb == "leave" else lambda: done.append(what)
    return Step(verb, what, act)


def test_only_what_is_wanted_and_otherwise_there_differs() -> None:
    wanted = {"index": "security", "useACK": "1", "source": "x"}
    found = {"index": "security", "useACK": "0", "host": "theirs"}
    assert differences(wanted, found) == (
        Difference("useACK", "0", "1"),
        Difference("source", "", "x"),
    )


def test_a_plan_reads_as_what_happens_to_each_thing() -> None:
    changed = Step("change", "alert a", lambda: None, (Difference("cron", "", "* * * * *"),))
    left = Step("leave", "index b", note="it holds 3 events")
    assert list(lines([changed, left])) == [
        "~ change alert a",
        "           cron: (nothing) -> * * * * *",
        "  leave  index b",
        "           it holds 3 events",
    ]
    assert summary([changed, left]) == (
        "0 to create, 1 to change, 0 to remove, 1 to leave as they are"
    )


def test_a_long_value_is_cut_and_its_length_told() -> None:
    created = Step("create", "alert a", lambda: None, (Difference("search", "", "x" * 5000),))
    (_, value) = lines([created])
    assert len(value) < 400
    assert value.endswith("(5000 characters)")


def test_steps_are_done_in_order_and_what_is_left_is_not_touched() -> None:
    done: list[str] = []
    told: list[str] = []
    steps = [step("create", "a", done), step("leave", "b", done), step("remove", "c", done)]
    assert [each.what for each in pending(steps)] == ["a", "c"]
    carry_out(steps, done=lambda each: told.append(each.what))
    assert done == told == ["a", "c"]


def test_what_fails_stops_the_rest() -> None:
    done: list[str] = []

    def refuse() -> None:
        raise AccessError("no")

    steps = [step("create", "a", done), Step("create", "b", refuse), step("create", "c", done)]
    with pytest.raises(AccessError):
        carry_out(steps, done=lambda each: None)
    assert done == ["a"]


def test_a_step_that_leaves_things_cannot_act() -> None:
    with pytest.raises(ValueError, match="acts unless"):
        Step("leave", "a", lambda: None)
    with pytest.raises(ValueError, match="acts unless"):
        Step("create", "a")
