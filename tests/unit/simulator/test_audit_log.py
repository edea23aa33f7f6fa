"""The audit log: order, bounds, cursor, filters, and what shows up late or goes away."""

from hypothesis import given
from hypothesis import strategies as st

from forwarder.simulator.generator import encoded
from forwarder.simulator.log import AuditLog, Query

EVER = 2**50
CATEGORIES = ("Soteri Security for Bitbucket", "Projects", "Auditing")


def body(
    name: str = "x",
    *,
    category: str = "Projects",
    action: str = "Project created",
    objects: list[tuple[str, str]] | None = None,
    author: str = "2",
) -> bytes:
    return encoded(
        {
            "author": {"name": "admin", "id": author},
            "type": {"category": category, "action": action},
            "affectedObjects": [
                {"name": name, "type": kind, "id": id_} for kind, id_ in objects or ()
            ],
            "method": name,
        }
    )


def filled(*times: int, **shape: str) -> AuditLog:
    log = AuditLog()
    for at in times:
        log.write(body(**shape), at)
    return log


def ids(log: AuditLog, **query: object) -> list[int]:
    return [row.id for row in log.find(Query(**{"to_ms": EVER, **query})).rows]  # type: ignore[arg-type]


def test_rows_come_newest_first_and_by_id_within_a_millisecond():
    log = filled(5, 7, 7, 3)
    assert ids(log) == [3, 2, 1, 4]


def test_both_bounds_are_inclusive():
    log = filled(1, 2, 3, 4)
    assert ids(log, from_ms=2, to_ms=3) == [3, 2]


def test_a_cursor_gives_only_strictly_older_rows_also_within_its_millisecond():
    log = filled(7, 7, 7)
    assert ids(log, cursor=(7, 2)) == [1]


def test_a_row_that_shows_up_between_two_pages_does_not_shift_the_second():
    log = filled(10, 20, 30, 40)
    first = log.find(Query(to_ms=EVER, limit=2))
    log.write(body(), 35)
    last = first.rows[-1]
    assert ids(log, cursor=(last.at_ms, last.id), limit=2) == [2, 1]


def test_rows_removed_between_two_pages_are_simply_missing_from_the_second():
    log = filled(10, 20, 30, 40)
    log.forget(before_ms=20, keep=10)
    assert ids(log, cursor=(30, 3)) == [2]


def test_the_row_count_alone_also_makes_the_oldest_go():
    log = filled(10, 20, 30, 40)
    assert log.forget(before_ms=0, keep=3) == 1
    assert ids(log) == [4, 3, 2]
    assert log.forgotten == 1


def test_a_late_row_is_not_found_before_its_time_and_then_lies_at_its_timestamp():
    log = filled(10, 30)
    log.write_late(body(), 20, visible_at_ms=50)
    log.show(49)
    assert ids(log) == [2, 1]
    log.show(50)
    assert ids(log) == [2, 3, 1]


def test_filters_compare_the_whole_text():
    log = filled(1, category="Projects", action="Project created")
    assert ids(log, categories=frozenset({"Projects"})) == [1]
    assert ids(log, categories=frozenset({"projects"})) == []
    assert ids(log, actions=frozenset({"Project"})) == []


def test_objects_of_one_type_are_alternatives_and_types_must_all_be_met():
    log = AuditLog()
    log.write(body(objects=[("PROJECT", "1"), ("REPOSITORY", "7")]), 1)
    log.write(body(objects=[("PROJECT", "2"), ("REPOSITORY", "8")]), 2)
    both = {"PROJECT": frozenset({"1", "2"})}
    assert ids(log, objects=both) == [2, 1]
    assert ids(log, objects={**both, "REPOSITORY": frozenset({"7"})}) == [1]
    apart = {"PROJECT": frozenset({"1"}), "REPOSITORY": frozenset({"8"})}
    assert ids(log, objects=apart) == []


def test_only_the_first_five_objects_are_searched():
    log = AuditLog()
    log.write(body(objects=[("PROJECT", str(number)) for number in range(6)]), 1)
    assert ids(log, objects={"PROJECT": frozenset({"4"})}) == [1]
    assert ids(log, objects={"PROJECT": frozenset({"5"})}) == []


def test_authors_are_found_by_id_and_text_without_regard_to_case():
    log = AuditLog()
    log.write(body("Payments", author="2"), 1)
    log.write(body("other", author="3"), 2)
    assert ids(log, user_ids=frozenset({"3"})) == [2]
    assert ids(log, terms=(b"payments", b"admin")) == [1]
    assert ids(log, terms=(b"payments", b"nobody")) == []


def test_a_scan_limit_hides_older_rows_on_every_page():
    log = filled(1, 2, 3, 4, 5)
    assert ids(log, scan_limit=3) == [5, 4, 3]
    assert ids(log, scan_limit=3, cursor=(4, 4)) == [3]


def test_a_misshapen_event_is_still_found_by_its_category():
    log = AuditLog()
    odd = b'{"type":{"category":"Projects","action":7},"author":null,"affectedObjects":"none"}'
    log.write(odd, 1)
    assert ids(log, categories=frozenset({"Projects"})) == [1]


def test_what_is_no_json_is_kept_and_served_as_it_is():
    log = AuditLog()
    log.write(b"\xff nonsense", 1)
    assert log.find(Query(to_ms=EVER)).rows[0].body == b"\xff nonsense"


rows = st.lists(st.tuples(st.integers(0, 8), st.sampled_from(CATEGORIES)), max_size=30)


@given(
    rows=rows,
    low=st.none() | st.integers(0, 8),
    high=st.integers(0, 8),
    limit=st.integers(1, 5),
    wanted=st.frozensets(st.sampled_from(CATEGORIES)),
)
def test_walking_by_cursor_gives_every_matching_row_once_in_order(rows, low, high, limit, wanted):
    log = AuditLog()
    for at, category in rows:
        log.write(body(category=category), at)
    expected = sorted(
        (
            (at, number)
            for number, (at, category) in enumerate(rows, start=1)
            if (low is None or at >= low) and at <= high and (not wanted or category in wanted)
        ),
        reverse=True,
    )
    walked, cursor, more = [], None, True
    while more:
        found = log.find(
            Query(from_ms=low, to_ms=high, cursor=cursor, limit=limit, categories=wanted)
        )
        walked += [(row.at_ms, row.id) for row in found.rows]
        more = found.more
        assert found.rows or not more
        cursor = walked[-1] if walked else None
    assert walked == expected


@given(
    rows=rows,
    offset=st.integers(0, 10),
    limit=st.integers(1, 5),
    wanted=st.frozensets(st.sampled_from(CATEGORIES)),
)
def test_an_offset_skips_that_many_matching_rows(rows, offset, limit, wanted):
    log = AuditLog()
    for at, category in rows:
        log.write(body(category=category), at)
    everything = ids(log, limit=100, categories=wanted)
    found = log.find(Query(to_ms=EVER, offset=offset, limit=limit, categories=wanted))
    assert [row.id for row in found.rows] == everything[offset : offset + limit]
    assert found.more == (len(everything) > offset + limit)
