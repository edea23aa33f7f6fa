"""A record is known again by its content, by whatever road and however often it is read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Actor, AffectedObject, Attribute, Change, Record
from forwarder.sources.bitbucket_audit import identity, instants
from forwarder.sources.bitbucket_audit.shapes import AuditType, Entity

ENTITY = Entity(
    timestamp="2021-11-27T17:38:58.087Z",
    author=Actor(name="admin", type="NORMAL", id="2"),
    type=AuditType(category="Users and groups", action="User deleted"),
    affected_objects=(AffectedObject(type="USER", name="test.user"),),
    changed_values=(Change(key="Project", i18n_key="k", from_="TEST", to="AT"),),
    extra_attributes=(
        Attribute(name="target", value="TEST/test2", name_i18n_key="t"),
        Attribute(name="details", value='{"a":1}', name_i18n_key="d"),
    ),
    source="10.50.73.5",
    node="8767044c",
    system="http://bitbucket.internal:7990",
    method="Browser",
)
MS = 1_638_034_738_087

texts = st.one_of(st.none(), st.text(max_size=5))
attributes = st.lists(
    st.builds(Attribute, name=texts, value=texts, name_i18n_key=texts), max_size=5
)


def changed(**fields: Any) -> Entity:
    return msgspec.structs.replace(ENTITY, **fields)


def make_record(event_id: str, second: int = 0) -> Record:
    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    return Record(event_id=event_id, occurred_at=at, original=msgspec.Raw(b"{}"))


def test_ids_stay_what_they_were_in_the_first_release() -> None:
    assert identity.derive("bitbucket", MS, ENTITY) == "017d627a8ba7c1debcff4e3d30f13150"


def test_an_id_begins_with_the_millisecond() -> None:
    assert int(identity.derive("bitbucket", MS, ENTITY)[:12], 16) == MS


def test_ids_of_one_source_sort_by_time() -> None:
    ids = [identity.derive("b", ms, ENTITY) for ms in (0, 1, 255, 256, MS, MS + 1, 2**47)]
    assert ids == sorted(ids)


def test_a_time_before_1970_or_in_the_year_9999_has_an_id_of_the_same_form() -> None:
    for ms in (-1, instants.EARLIEST, instants.LATEST):
        event_id = identity.derive("b", ms, ENTITY)
        assert len(event_id) == 32
        assert set(event_id) <= set("0123456789abcdef")


@given(attributes=attributes, order=st.randoms(use_true_random=False))
def test_the_order_of_extra_attributes_does_not_matter(attributes: Any, order: Any) -> None:
    shuffled = list(attributes)
    order.shuffle(shuffled)
    one = identity.derive("b", MS, changed(extra_attributes=tuple(attributes)))
    assert identity.derive("b", MS, changed(extra_attributes=tuple(shuffled))) == one


@given(attributes=attributes)
def test_attributes_are_sorted_by_what_they_are_encoded_to(attributes: Any) -> None:
    wanted = sorted(attributes, key=msgspec.json.encode)
    assert list(identity._sorted(tuple(attributes))) == wanted


def test_every_part_of_the_content_makes_another_record() -> None:
    others = [
        changed(author=None),
        changed(author=Actor(name="admin", type="NORMAL", id="3")),
        changed(type=AuditType(category="Users and groups", action="User made")),
        changed(affected_objects=()),
        changed(changed_values=()),
        changed(extra_attributes=ENTITY.extra_attributes[:1]),  # type: ignore[index]
        changed(source="10.50.73.6"),
        changed(node="x"),
        changed(system="x"),
        changed(method="x"),
    ]
    ids = {identity.derive("b", MS, entity) for entity in (ENTITY, *others)}
    ids |= {identity.derive("c", MS, ENTITY), identity.derive("b", MS + 1, ENTITY)}
    assert len(ids) == len(others) + 3


def test_an_empty_origin_is_as_good_as_none_and_so_are_empty_lists() -> None:
    assert identity.derive("b", MS, changed(source="")) == identity.derive(
        "b", MS, changed(source=None)
    )
    assert identity.derive("b", MS, changed(changed_values=())) == identity.derive(
        "b", MS, changed(changed_values=None)
    )


@given(attributes=attributes, change=st.builds(Change, key=texts, from_=texts, to=texts))
def test_what_is_empty_is_as_good_as_what_is_absent(attributes: Any, change: Change) -> None:
    def filled(part: Any) -> Any:
        return type(part)(*(text or None for text in msgspec.structs.astuple(part)))

    said = changed(extra_attributes=tuple(attributes), changed_values=(change,))
    unsaid = changed(
        extra_attributes=tuple(map(filled, attributes)), changed_values=(filled(change),)
    )
    assert identity.derive("b", MS, said) == identity.derive("b", MS, unsaid)
    assert identity.derive("b", MS, changed(author=Actor(name="admin", id=""))) == identity.derive(
        "b", MS, changed(author=Actor(name="admin"))
    )


ids = st.lists(st.sampled_from(["a" * 32, "b" * 32, "c" * 32]), max_size=12)


@given(ids=ids)
def test_twins_are_told_apart_and_a_second_reading_adds_none(ids: list[str]) -> None:
    first = [record.event_id for record in identity.number(map(make_record, ids))]
    assert len(set(first)) == len(ids)
    assert [record.event_id for record in identity.number(map(make_record, ids))] == first


@given(ids=ids, late=st.sampled_from(["a" * 32, "b" * 32, "d" * 32]), place=st.integers(0, 12))
def test_a_twin_that_shows_up_late_adds_one_id_wherever_it_stands(
    ids: list[str], late: str, place: int
) -> None:
    before = {record.event_id for record in identity.number(map(make_record, ids))}
    grown = [*ids[:place], late, *ids[place:]]
    after = {record.event_id for record in identity.number(map(make_record, grown))}
    assert before < after
    assert len(after) == len(before) + 1


def test_a_twin_keeps_its_time_in_its_id() -> None:
    first, second = identity.number([make_record("0" * 11 + "f" + "1" * 20)] * 2)
    assert second.event_id[:12] == first.event_id[:12]
    assert second.event_id != first.event_id
