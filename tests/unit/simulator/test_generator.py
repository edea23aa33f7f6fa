"""The generated events: the same for the same seed, and shaped like real ones."""

import json
from collections import Counter
from datetime import datetime

import pytest

from forwarder.simulator.catalogue import invented, of_events
from forwarder.simulator.events import HOOK_SKIPPED, SOTERI, SOTERI_CATEGORY
from forwarder.simulator.generator import Arrival, Generator, Mixture, timestamp

START = 1_767_225_600_000
HOUR = 3_600_000


def generator(seed: int = 1, purpose: str = "test", **mixture: float) -> Generator:
    return Generator(
        seed,
        catalogue=invented(),
        mixture=Mixture(**mixture),
        host="http://bitbucket.internal:7990",
        purpose=purpose,
    )


def history(count: int = 3000, seed: int = 1, **mixture: float) -> list[Arrival]:
    made = generator(seed, **mixture).history(count, start_ms=START, end_ms=START + HOUR)
    return list(made)


def test_one_seed_makes_one_history_and_another_seed_another():
    assert history(200) == history(200)
    assert history(200) != history(200, seed=2)


def test_exactly_as_many_events_are_made_as_asked_for():
    assert len(history(777, bursts=0.5, twins=0.5)) == 777


def test_live_events_do_not_depend_on_where_the_stretches_meet():
    whole = list(generator().live(after_ms=START, until_ms=START + 60_000, rate=5))
    parts = generator()
    pieces = [
        arrival
        for step in range(60)
        for arrival in parts.live(
            after_ms=START + step * 1000, until_ms=START + (step + 1) * 1000, rate=5
        )
    ]
    assert pieces == whole


def test_live_events_happen_about_as_often_as_asked_for():
    made = list(generator().live(after_ms=START, until_ms=START + HOUR, rate=2))
    assert len(made) == pytest.approx(7200, rel=0.05)
    assert all(START <= arrival.at_ms <= START + HOUR for arrival in made)


def test_an_event_is_about_950_bytes_on_average():
    made = history()
    assert sum(len(arrival.body) for arrival in made) / len(made) == pytest.approx(950, rel=0.06)


def test_bursts_share_a_millisecond_and_twins_share_every_byte():
    made = history(bursts=0.2, twins=0.1)
    assert max(Counter(arrival.at_ms for arrival in made).values()) >= 5
    assert max(Counter(arrival.body for arrival in made).values()) == 2


def test_without_twins_no_two_events_are_equal():
    made = history(bursts=0.2, twins=0)
    repeated = [body for body, n in Counter(arrival.body for arrival in made).items() if n > 1]
    assert not repeated


def test_late_events_show_up_within_the_bound_after_their_time():
    made = history(late=0.2, late_seconds=30)
    delays = [arrival.visible_at_ms - arrival.at_ms for arrival in made]
    assert 0.1 < sum(delay > 0 for delay in delays) / len(made) < 0.3
    assert 20_000 < max(delays) <= 30_000


def test_one_node_is_ahead_by_the_skew_and_another_behind():
    errors = {
        (json.loads(arrival.body)["node"], arrival.at_ms - arrival.visible_at_ms)
        for arrival in history(skew_seconds=5)
    }
    assert sorted(error for _, error in errors) == [-5000, 0, 5000]


def test_absent_fields_are_absent_and_never_null():
    for arrival in history():
        assert b":null" not in arrival.body


def test_every_text_that_is_invented_says_so_in_its_key():
    seen = set()
    for arrival in history():
        kind = json.loads(arrival.body)["type"]
        if kind["category"] == SOTERI_CATEGORY:
            seen.add((kind["action"], kind["actionI18nKey"].split("simulator.")[0]))
    assert (HOOK_SKIPPED, "unknown.") in seen
    assert {prefix for action, prefix in seen if action != HOOK_SKIPPED} == {"invented."}
    assert len(seen) == len(SOTERI)


def test_the_share_of_soteri_events_is_as_asked_for():
    made = history(soteri=0.5)
    soteri = sum(SOTERI_CATEGORY.encode() in arrival.body for arrival in made)
    assert soteri / len(made) == pytest.approx(0.5, abs=0.05)


def test_attributes_are_sorted_by_name_and_details_is_json_in_a_string():
    found = False
    for arrival in history(200):
        attributes = json.loads(arrival.body)["extraAttributes"]
        names = [one["name"] for one in attributes]
        assert names == sorted(names)
        for one in attributes:
            if one["name"] == "details":
                assert isinstance(json.loads(one["value"]), dict)
                found = True
    assert found


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (1638034738087, "2021-11-27T17:38:58.087Z"),
        (1638034732000, "2021-11-27T17:38:52Z"),
        (1638034732360, "2021-11-27T17:38:52.360Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_a_fraction_is_printed_only_where_there_is_one(ms, text):
    assert timestamp(ms) == text
    assert datetime.fromisoformat(text).timestamp() * 1000 == pytest.approx(ms)


def test_captured_events_teach_the_look_ups_their_projects():
    body = (
        b'{"affectedObjects":[{"name":"AT","type":"PROJECT","id":"3"},'
        b'{"name":"test2","type":"REPOSITORY","id":"1"},{"name":"gone","type":"USER"}]}'
    )
    found = of_events([body, b"no json", b"[]"]).repository("at", "test2")
    assert found
    assert (found[0].id, found[1].id) == (3, 1)
