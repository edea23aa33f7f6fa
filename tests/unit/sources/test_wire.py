"""Whatever Bitbucket shows becomes a record or an unreadable one, and never costs the page."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.model import Actor, AffectedObject, Attribute, Change, Record, Unreadable
from forwarder.sources.bitbucket_audit import lenient, wire

GOOD: dict[str, Any] = {
    "timestamp": "2021-11-27T17:38:58.087Z",
    "author": {"name": "admin", "type": "NORMAL", "id": "2", "uri": "http://b/1", "avatarUri": ""},
    "type": {
        "categoryI18nKey": "cat",
        "category": "Users and groups",
        "actionI18nKey": "act",
        "action": "User deleted",
    },
    "affectedObjects": [{"name": "TEST", "type": "PROJECT", "uri": "http://b/2", "id": "2"}],
    "changedValues": [{"key": "Project", "i18nKey": "k", "from": "TEST", "to": "AT"}],
    "source": "10.50.73.5",
    "system": "http://bitbucket.internal:7990",
    "node": "8767044c",
    "method": "Browser",
    "extraAttributes": [{"nameI18nKey": "t", "name": "target", "value": "TEST/test2"}],
}
LAST = b'{"lastPage":true,"size":1}'


def page_of(*entities: bytes, paging: bytes = LAST) -> bytes:
    return b'{"entities":[' + b",".join(entities) + b'],"pagingInfo":' + paging + b"}"


def read(entity: bytes | dict[str, Any]) -> Record | Unreadable:
    """Return what an entity becomes that arrives between two good ones."""
    body = entity if isinstance(entity, bytes) else json.dumps(entity).encode()
    good = json.dumps(GOOD).encode()
    found = [
        wire.record(raw, namespace="b") for raw in wire.page(page_of(good, body, good)).entities
    ]
    assert len(found) == 3
    assert isinstance(found[0], Record)
    assert found[0] == found[2]
    return found[1]


def record(entity: bytes | dict[str, Any]) -> Record:
    found = read(entity)
    assert isinstance(found, Record), found
    original = bytes(found.original)
    json.loads(original)
    msgspec.json.encode(found)  # every sink and the outbox can
    assert b"\n" not in original
    assert b"\r" not in original
    return found


def test_what_comes_again_in_other_events_is_one_value_where_it_is_short() -> None:
    again = {**GOOD, "timestamp": "2021-11-27T17:38:59.087Z"}
    one, other = record(GOOD), record(again)
    assert one.event_id != other.event_id
    assert one.actor is other.actor
    assert one.objects is other.objects
    assert one.changes is other.changes
    long = {"author": {"name": "x" * 1000}}
    assert record({**GOOD, **long}).actor is not record({**again, **long}).actor


def test_an_event_tells_all_it_holds() -> None:
    found = record(GOOD)
    assert found.occurred_at == datetime(2021, 11, 27, 17, 38, 58, 87000, tzinfo=UTC)
    assert found.actor == Actor(name="admin", type="NORMAL", id="2")
    assert (found.category, found.category_key) == ("Users and groups", "cat")
    assert (found.action, found.action_key) == ("User deleted", "act")
    assert found.objects == (AffectedObject(type="PROJECT", name="TEST", id="2"),)
    assert found.changes == (Change(key="Project", i18n_key="k", from_="TEST", to="AT"),)
    assert found.attributes == (Attribute(name="target", name_i18n_key="t", value="TEST/test2"),)
    assert (found.address, found.node) == ("10.50.73.5", "8767044c")
    assert (found.system, found.method) == ("http://bitbucket.internal:7990", "Browser")
    assert json.loads(bytes(found.original)) == GOOD


def test_the_original_is_byte_for_byte_what_came() -> None:
    body = b'{ "timestamp" : "2021-11-27T17:38:58Z", "b":1.50, "a":"\\u00e9\xc3\xa9","b":2 }'
    assert bytes(record(body).original) == body


def test_line_ends_between_tokens_are_taken_out_and_those_inside_strings_stay() -> None:
    body = json.dumps(GOOD | {"note": "a\r\nb"}, indent=2).replace("\n", "\r\n").encode()
    assert json.loads(bytes(record(body).original)) == GOOD | {"note": "a\r\nb"}
    assert record(body).event_id == record(GOOD).event_id


def test_addresses_that_bitbucket_makes_up_at_reading_are_no_part_of_the_identity() -> None:
    moved = json.loads(json.dumps(GOOD).replace("http://b/", "http://elsewhere/"))
    del moved["author"]["avatarUri"]
    del moved["affectedObjects"][0]["uri"]
    assert record(moved).event_id == record(GOOD).event_id


def test_an_event_with_only_a_time_is_a_record() -> None:
    found = record({"timestamp": GOOD["timestamp"]})
    assert (found.category, found.action, found.actor, found.objects) == ("", "", None, ())


def test_nulls_are_as_good_as_nothing() -> None:
    nothing = {"timestamp": GOOD["timestamp"]}
    nulls = dict.fromkeys(GOOD) | nothing
    assert record(nulls).event_id == record(nothing).event_id
    inner = nothing | {"affectedObjects": [{"name": None, "type": "MISC", "id": None}]}
    assert record(inner).objects == (AffectedObject(type="MISC"),)


def test_numbers_for_strings_are_strings() -> None:
    found = record(
        GOOD
        | {
            "author": {"name": 7, "type": True, "id": 2},
            "affectedObjects": [{"name": 1.5, "type": "PROJECT", "id": 12}],
            "changedValues": [{"key": "k", "from": False, "to": 3}],
        }
    )
    assert found.actor == Actor(name="7", type="true", id="2")
    assert found.objects == (AffectedObject(type="PROJECT", name="1.5", id="12"),)
    assert found.changes == (Change(key="k", from_="false", to="3"),)


def test_a_number_of_400_digits_keeps_them_all() -> None:
    digits = "9" * 400
    body = json.dumps(GOOD).replace('"2"', digits).encode()
    found = record(body)
    assert found.objects[0].id == digits
    assert bytes(found.original) == body
    more = read(json.dumps(GOOD).replace('"2"', "1" * 9000).encode())
    assert isinstance(more, Record)
    assert more.objects[0].id == "1" * 9000


def test_other_shapes_are_kept_as_text() -> None:
    found = record(
        GOOD
        | {
            "author": "admin",
            "type": ["odd"],
            "affectedObjects": {"name": "alone", "id": "1"},
            "changedValues": ["moved", None],
            "extraAttributes": [{"name": "n", "value": {"a": [True, None]}}],
            "source": ["10.0.0.1", "10.0.0.2"],
        }
    )
    assert found.actor == Actor(name="admin")
    assert found.action == '["odd"]'
    assert found.objects == (AffectedObject(name="alone", id="1"),)
    assert found.changes[0].key == "moved"
    assert found.attributes == (Attribute(name="n", value='{"a": [true, null]}'),)
    assert found.address == '["10.0.0.1", "10.0.0.2"]'


def test_an_event_of_5_mb_and_one_nested_100_deep_are_ordinary() -> None:
    assert len(record(GOOD | {"system": "x" * 5_000_000}).system or "") == 5_000_000
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    assert json.loads(bytes(record(GOOD | {"more": deep}).original))["more"] == deep


def test_nul_ansi_escapes_and_line_ends_travel_inside_strings() -> None:
    hostile = "\0\x1b[31mred\r\n\u2028"
    found = record(GOOD | {"source": hostile})
    assert found.address == hostile


@pytest.mark.parametrize("surrogate", [r"\ud800", r"\udc00", r"\ud800A", r"\udfff\ud800"])
def test_lone_surrogates_are_replaced_and_the_text_is_kept(surrogate: str) -> None:
    body = json.dumps(GOOD).replace("10.50.73.5", f"a{surrogate}").encode()
    found = record(body)
    assert (found.address or "").startswith("a\ufffd")
    assert json.loads(bytes(found.original)) == body.decode()
    assert found.event_id == record(body).event_id


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(GOOD | {"more": 1}).replace('"more": 1', '"more": NaN').encode(),
        json.dumps(GOOD | {"more": 1}).replace('"more": 1', '"more": -Infinity').encode(),
        json.dumps(GOOD | {"more": "@"}).replace("@", "raw \n \x01 control").encode(),
        json.dumps(GOOD | {"more": "@"}).encode().replace(b"@", b"\xff\xfe"),
        json.dumps(GOOD | {"author": {"name": "@"}}).encode().replace(b"@", b"\xed\xa0\x80"),
    ],
)
def test_what_is_no_strict_json_is_still_a_record_with_its_text(body: bytes) -> None:
    assert json.loads(bytes(record(body).original)) == body.decode(errors="replace")


def test_the_last_of_duplicate_keys_counts_on_every_road() -> None:
    twice = b'{"timestamp":"2021-11-27T17:38:58Z","source":"a","source":"b"%b}'
    assert record(twice % b"").address == "b"
    assert record(twice % b',"n":NaN').address == "b"


def test_a_time_in_epoch_milliseconds_is_readable() -> None:
    found = record(GOOD | {"timestamp": 1_638_034_738_087})
    assert found.occurred_at == datetime(2021, 11, 27, 17, 38, 58, 87000, tzinfo=UTC)


@pytest.mark.parametrize(
    "timestamp",
    [
        "2021-11-27T17:38:32Z",
        "2021-11-27T17:38:32.123456789Z",
        "9999-12-31T23:59:59.999Z",
        "1969-07-20T20:17:40Z",
        "0001-01-01T00:00:00Z",
    ],
)
def test_times_of_every_age_and_precision_are_read(timestamp: str) -> None:
    found = record(GOOD | {"timestamp": timestamp})
    assert found.occurred_at == datetime.fromisoformat(timestamp)


@pytest.mark.parametrize(
    "entity",
    [
        b"17",
        b'"text"',
        b"null",
        b"[]",
        b"{}",
        b"{timestamp: soon}",
        b'{"timestamp":"soon"}',
        b'{"timestamp":null}',
        b'{"timestamp":{}}',
        b'{"timestamp":"+10000-01-01T00:00:00Z"}',
        b'{"timestamp":1e999}',
        b'{"timestamp":' + b"9" * 5000 + b"}",
        b'{"timestamp":"2021-11-27T17:38:58Z","deep":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_what_has_no_readable_time_or_is_no_object_is_kept_as_it_came(entity: bytes) -> None:
    found = read(entity)
    assert isinstance(found, Unreadable)
    assert found.original == entity
    assert found.detail


def test_records_do_not_keep_the_page_alive() -> None:
    body = page_of(json.dumps(GOOD).encode())
    found = wire.record(wire.page(body).entities[0], namespace="b")
    assert isinstance(found, Record)
    assert bytes(found.original) is not body
    assert len(memoryview(found.original).obj) < len(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(alphabet=st.characters(codec=None), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
entities = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {"timestamp": json_values | st.just(GOOD["timestamp"])},
        optional={key: json_values | st.just(GOOD[key]) for key in GOOD if key != "timestamp"},
    ),
)


@given(entities=st.lists(entities, max_size=4), indent=st.sampled_from([None, 1]))
def test_every_entity_comes_out_and_nothing_raises(
    entities: Sequence[Any], indent: int | None
) -> None:
    body = json.dumps(
        {"entities": entities, "pagingInfo": {"lastPage": True}}, indent=indent
    ).encode()
    answer = wire.page(body)
    assert len(answer.entities) == len(entities)
    for raw in answer.entities:
        found = wire.record(raw, namespace="b")
        if isinstance(found, Unreadable):
            assert found.original in body
        else:
            msgspec.json.decode(msgspec.json.encode(found))
            assert b"\n" not in bytes(found.original)


@given(body=st.binary(max_size=60))
def test_bytes_that_are_no_entity_never_raise(body: bytes) -> None:
    found = wire.record(msgspec.Raw(body), namespace="b")
    assert isinstance(found, Record | Unreadable)


@given(
    entities=st.lists(entities.filter(lambda entity: entity is not None), max_size=5),
    spoiler=st.sampled_from([b"NaN", rb'"\ud800"', b'"\x01"', b'{"a":[{"]":NaN}],"b":"}]\\""}']),
)
def test_a_spoilt_page_splits_into_the_same_entities(entities: list[Any], spoiler: bytes) -> None:
    parts = [json.dumps(entity, ensure_ascii=True).encode() for entity in entities]
    paging = b'{"lastPage":false,"nextPageCursor":"1,2"}'
    answer = wire.page(page_of(*parts, spoiler, paging=paging))
    assert [bytes(raw) for raw in answer.entities] == [*parts, spoiler]
    assert answer.paging_info.next_page_cursor == "1,2"


def test_a_page_cut_anywhere_is_never_taken_for_a_whole_one() -> None:
    whole = page_of(json.dumps(GOOD).encode(), b'{"n":NaN,"s":"]}"}')
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r"."):
            wire.page(whole[:length])


@pytest.mark.parametrize(
    "body",
    [b"[]", b"17", b"{}", b'{"entities":{},"pagingInfo":{"lastPage":true}}', b'{"entities":[]}',
     b'{"entities":null,"pagingInfo":{"lastPage":true}}',
     b'{"entities":[],"pagingInfo":{"lastPage":"yes"}}',
     b'{"entities":[NaN]}'],
)  # fmt: skip
def test_json_that_is_no_page_is_told_apart(body: bytes) -> None:
    with pytest.raises(wire.NotAPageError):
        wire.page(body)


def test_a_page_that_is_bad_outside_of_its_entities_is_not_taken_for_an_empty_one() -> None:
    good = page_of(json.dumps(GOOD).encode())
    for bad in (good.replace(b":", b"=", 1), good.replace(b'"pagingInfo":', b'"pagingInfo"')):
        with pytest.raises(ValueError, match=r"."):
            wire.page(bad)


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"nope", b'{"entities":[]', b"]["])
def test_what_is_no_json_is_not_taken_for_something_else(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        wire.page(body)
    assert not isinstance(caught.value, wire.NotAPageError)


def test_brackets_that_do_not_pair_take_no_part_of_a_page_twice() -> None:
    entities, rest = lenient.split(b'{"entities":[1' + b"]{" * 10_000)
    assert sum(map(len, entities)) + len(rest) < 50_000


def test_the_cursor_may_be_absent_or_null_on_the_last_page() -> None:
    for paging in (LAST, b'{"lastPage":true,"nextPageCursor":null,"nextPageOffset":null}'):
        assert wire.page(page_of(paging=paging)).paging_info.next_page_cursor is None
