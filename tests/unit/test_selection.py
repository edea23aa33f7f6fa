"""Filters decide by what an event says, whatever the case; the rest is in the contract suite."""

from hypothesis import given

from forwarder.model import AffectedObject, Attribute, EventFilter
from forwarder.selection import matcher
from tests.fakes.events import event, hostile_events


@given(hostile_events())
def test_an_empty_filter_takes_everything(hostile: object) -> None:
    assert matcher(EventFilter())(hostile)  # type: ignore[arg-type]


def test_a_target_that_is_no_repository_names_no_project() -> None:
    user = event(1, objects=(), attributes=(Attribute(name="target", value="alice"),))
    assert not matcher(EventFilter(projects=("alice",)))(user)
    assert not matcher(EventFilter(repositories=("alice",)))(user)


def test_a_project_is_found_by_its_id_too() -> None:
    moved = event(1, objects=(AffectedObject(type="PROJECT", name="Payments team", id="17"),))
    assert matcher(EventFilter(projects=("17",)))(moved)


def test_a_user_of_the_same_name_is_no_repository() -> None:
    user = event(1, objects=(AffectedObject(type="USER", name="payments"),), attributes=())
    assert not matcher(EventFilter(repositories=("payments",)))(user)
    assert not matcher(EventFilter(projects=("payments",)))(user)
