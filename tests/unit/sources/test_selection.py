"""The server filters where it can; what it cannot is filtered here, and our own searches go."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from forwarder.model import Actor, Record
from forwarder.sources.bitbucket_audit.selection import SEARCH_ACTION, Selection


def make_record(**fields: Any) -> Record:
    return Record(
        event_id="0" * 32,
        occurred_at=datetime(2024, 1, 1, tzinfo=UTC),
        original=msgspec.Raw(b"{}"),
        **fields,
    )


def wants(selection: Selection, **fields: Any) -> bool:
    return selection.wants(make_record(**fields), user=None)


def test_the_server_is_asked_and_its_choice_trusted() -> None:
    selection = Selection(("A", "B"), ("C",))
    assert selection.params() == {"categories": "A,B", "actions": "C"}
    assert wants(selection, category="a translation", action="another")


def test_without_a_licence_all_is_filtered_here() -> None:
    selection = Selection(("A",), ("C",), licensed=False)
    assert selection.params() == {}
    assert wants(selection, category="A", action="C")
    assert not wants(selection, category="A", action="D")
    assert not wants(selection, category="B", action="C")


def test_a_name_with_a_comma_is_filtered_here_and_the_others_by_the_server() -> None:
    selection = Selection(("A", "B, C"), ("D",))
    assert selection.params() == {"actions": "D"}
    assert wants(selection, category="B, C")
    assert not wants(selection, category="C")


def test_our_own_searches_are_left_out_and_those_of_others_are_not() -> None:
    search = make_record(action_key=SEARCH_ACTION, actor=Actor(name="Forwarder"))
    for user, wanted in (("forwarder", False), ("auditor", True), (None, True)):
        assert Selection().wants(search, user=user) is wanted
    other = make_record(action_key="repository.created", actor=Actor(name="forwarder"))
    assert Selection().wants(other, user="forwarder")
