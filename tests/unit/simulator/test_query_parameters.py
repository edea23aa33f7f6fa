"""What the parameters of a search mean, and which are refused."""

import pytest

from forwarder.simulator.query import InvalidQueryError, read_query


def read(cap: int = 100_000, **parameters: str):
    return read_query(parameters, now_ms=1000, limit_cap=cap)


def test_without_parameters_the_newest_200_rows_up_to_now_are_meant():
    query = read()
    assert (query.from_ms, query.to_ms, query.limit, query.filtered) == (None, 1000, 200, False)


def test_instants_count_to_the_millisecond_and_end_in_z():
    query = read(**{"from": "1970-01-01T00:00:02Z", "to": "1970-01-01T00:00:03.4567899Z"})
    assert (query.from_ms, query.to_ms) == (2000, 3456)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+00:00",
        "now",
        "2026-02-31T00:00:00Z",
    ],
)
def test_other_forms_of_an_instant_are_refused(text):
    with pytest.raises(InvalidQueryError) as refusal:
        read(**{"from": text})
    assert refusal.value.key == "validation.error.from.invalid"


@pytest.mark.parametrize("cap", [10_000, 100_000])
def test_a_limit_over_the_cap_is_refused(cap):
    assert read(cap, limit=str(cap)).limit == cap
    with pytest.raises(InvalidQueryError, match=str(cap)):
        read(cap, limit=str(cap + 1))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "many"),
        ("offset", "-1"),
        ("pageCursor", "5"),
        ("pageCursor", "5;6"),
        ("affectedObject", "PROJECT"),
        ("outputFormat", "xml"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(name, text):
    with pytest.raises(InvalidQueryError) as refusal:
        read(**{name: text})
    assert name in refusal.value.key


def test_lists_are_cut_at_every_comma_and_nothing_is_trimmed():
    query = read(categories="Users and groups, Projects", actions="One, two")
    assert query.categories == {"Users and groups", " Projects"}
    assert query.actions == {"One", " two"}


def test_objects_are_grouped_by_type():
    query = read(affectedObject="PROJECT,1;REPOSITORY,7;PROJECT,2")
    assert query.objects == {"PROJECT": {"1", "2"}, "REPOSITORY": {"7"}}


def test_csv_ignores_the_cursor():
    assert read(pageCursor="5,6").cursor == (5, 6)
    assert read(pageCursor="5,6", outputFormat="csv").cursor is None
