"""The simulator as one object: what it writes, hides and tells as the truth. No HTTP."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forwarder.simulator import HandClock, Mixture, Simulator, SimulatorOptions
from forwarder.simulator.events import HOOK_SKIPPED, SOTERI_CATEGORY

AT = datetime(2026, 1, 1, tzinfo=UTC)
CAPTURED = (
    b'{"timestamp":"2021-11-27T17:38:58.087Z","author":{"name":"admin"},"type":{"category":'
    b'"Users and groups","action":"User deleted"},"affectedObjects":[{"name":"AT","type":'
    b'"PROJECT","id":"3"}],"changedValues":[],"extraAttributes":[]}'
)


def simulator(clock: HandClock | None = None, **options: object) -> Simulator:
    return Simulator(SimulatorOptions(**options), clock=clock or HandClock(AT))  # type: ignore[arg-type]


def test_equal_options_make_an_equal_log():
    assert simulator(history=100).truth_bytes() == simulator(history=100).truth_bytes()


def test_the_history_lies_within_the_span_before_the_start_oldest_first():
    times = [
        datetime.fromisoformat(event["timestamp"])
        for event in simulator(history=300, span=3600.0).truth()
    ]
    assert times == sorted(times)
    assert times[0] >= AT - timedelta(hours=1)
    assert times[-1] <= AT


def test_filling_twice_adds_other_events():
    played = simulator(mixture=Mixture(twins=0))
    played.fill(50, span=60)
    played.fill(50, span=60)
    assert len(set(played.truth_bytes())) == 100


def test_an_emitted_event_is_a_skipped_hook_unless_told_otherwise():
    played = simulator()
    event = played.emit()
    assert event["type"]["action"] == HOOK_SKIPPED
    assert event["timestamp"] == "2026-01-01T00:00:00Z"
    assert played.truth(categories=[SOTERI_CATEGORY], actions=[HOOK_SKIPPED]) == [event]
    assert played.truth(categories=["Projects"]) == []


def test_fields_are_overridden_and_none_leaves_them_out():
    event = simulator().emit({"source": "", "system": None}, at=AT - timedelta(milliseconds=13))
    assert event["source"] == ""
    assert "system" not in event
    assert event["timestamp"] == "2025-12-31T23:59:59.987Z"


def test_a_timestamp_of_ones_own_is_kept_as_written_and_orders_the_row():
    played = simulator()
    played.emit({"timestamp": "2025-01-01T00:00:00.123456789Z"})
    assert played.truth()[0]["timestamp"] == "2025-01-01T00:00:00.123456789Z"
    assert played.log.rows[0].at_ms == 1735689600123


def test_copies_are_twins():
    played = simulator()
    event = played.emit(copies=3)
    assert played.truth() == [event] * 3


def test_raw_rows_are_kept_byte_for_byte():
    played = simulator()
    odd = b'{"timestamp":"yesterday", "x":"\\ud800"}'
    played.emit_raw(odd)
    assert played.truth_bytes() == [odd]
    assert played.truth() == [{"timestamp": "yesterday", "x": "\ud800"}]


def test_a_late_event_joins_the_truth_when_its_time_has_come():
    clock = HandClock(AT)
    played = simulator(clock)
    played.emit(late=20)
    played.emit()
    clock.advance(19.999)
    assert len(played.truth()) == 1
    clock.advance(0.001)
    assert [event["timestamp"] for event in played.truth()] == ["2026-01-01T00:00:00Z"] * 2


def test_live_events_follow_the_clock_up_to_their_count():
    clock = HandClock(AT)
    played = simulator(clock, rate=10.0, live_count=50)
    clock.advance(2)
    assert 5 < len(played.truth()) < 40
    clock.advance(100)
    assert len(played.truth()) == played.happened == 50


def test_a_clock_set_back_stamps_older_times_and_stops_nothing():
    clock = HandClock(AT)
    played = simulator(clock, rate=10.0)
    clock.advance(10)
    before = len(played.truth())
    clock.jump(-3600)
    clock.advance(10)
    events = played.truth()
    assert len(events) > before + 20
    assert events[0]["timestamp"] < "2026-01-01T00:00:00Z"


def test_retention_forgets_as_time_goes_on():
    clock = HandClock(AT)
    played = simulator(clock, retention=60.0)
    played.emit()
    clock.advance(61)
    kept = played.emit()
    assert played.truth() == [kept]
    assert played.log.forgotten == 1


def test_coverage_and_the_denylist_keep_events_out():
    blind = simulator(coverage={"ecosystem": "off"})
    blind.emit()
    assert blind.truth() == []
    picky = simulator(denylist=(HOOK_SKIPPED,))
    picky.emit()
    picky.emit({"type": {"category": SOTERI_CATEGORY, "action": "Another"}})
    assert [event["type"]["action"] for event in picky.truth()] == ["Another"]


def test_captured_events_are_served_byte_for_byte_and_teach_the_look_ups(tmp_path: Path):
    later = CAPTURED.replace(b"2021-11-27", b"2021-11-28")
    file = tmp_path / "captured.jsonl"
    file.write_bytes(later + b"\n\n" + CAPTURED + b"\n")
    played = simulator(events=file, history=100)
    assert played.truth_bytes() == [CAPTURED, later]
    project = played.catalogue.project("AT")
    assert project
    assert project.id == 3


@pytest.mark.parametrize("line", [b"nope", b"[]", b"{}", b'{"timestamp":{"epochSecond":1}}'])
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: bytes):
    file = tmp_path / "captured.jsonl"
    file.write_bytes(CAPTURED + b"\n" + line + b"\n")
    with pytest.raises(ValueError, match="line 2"):
        simulator(events=file)


def test_time_does_not_run_back():
    with pytest.raises(ValueError, match="jump"):
        HandClock(AT).advance(-1)


def test_the_truth_is_what_json_says():
    played = simulator(history=20)
    assert played.truth() == [json.loads(body) for body in played.truth_bytes()]
