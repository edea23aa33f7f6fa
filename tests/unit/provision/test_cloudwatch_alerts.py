"""A detection becomes an alarm that AWS takes, whatever it counts."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from forwarder.detections import Detection, detections
from forwarder.provision.cloudwatch.alerts import alarm, awaited, condition, metric_filter

HOUR, DAY = 3600, 86_400
SILENT = next(each for each in detections() if each.absence)
SEEN = next(each for each in detections() if each.cloudwatch and not each.absence)


def counted(**changed: object) -> Detection:
    return replace(SEEN, **changed)


@given(
    window=st.floats(min_value=1, max_value=DAY),
    threshold=st.integers(min_value=1, max_value=1000),
    absence=st.booleans(),
)
def test_periods_are_what_put_metric_alarm_takes(
    window: float, threshold: int, absence: bool
) -> None:
    made = alarm(counted(window=window, threshold=threshold, absence=absence), "p", "topic")
    period, periods = made["Period"], made["EvaluationPeriods"]
    assert period % 60 == 0
    assert period * periods <= (7 * DAY if period >= HOUR else DAY)
    assert 1 <= made["DatapointsToAlarm"] <= periods
    assert period * periods >= window


def test_an_event_that_comes_an_hour_late_still_alarms() -> None:
    made = alarm(counted(window=300.0), "p", "topic")
    assert made["Period"] * made["EvaluationPeriods"] == HOUR
    assert made["DatapointsToAlarm"] == 1


def test_what_is_to_come_many_times_is_counted_over_the_whole_window() -> None:
    made = alarm(counted(window=3600.0, threshold=20, group_by=("actor.name",)), "p", "topic")
    assert (made["Period"], made["EvaluationPeriods"], made["Threshold"]) == (HOUR, 1, 20.0)
    assert "of all together" in condition(counted(threshold=20, group_by=("actor.name",)))


def test_only_silence_tells_its_end_too() -> None:
    assert alarm(SILENT, "p", "topic")["OKActions"] == ["topic"]
    assert alarm(SEEN, "p", "topic")["OKActions"] == []


@given(heartbeat=st.floats(min_value=60, max_value=2 * DAY))
def test_silence_is_never_shorter_than_three_heartbeats(heartbeat: float) -> None:
    (silent,) = awaited([SILENT], heartbeat)
    assert silent.window >= 3 * heartbeat
    made = alarm(silent, "p", "topic")
    assert made["Period"] * made["EvaluationPeriods"] <= 7 * DAY


def test_without_heartbeats_nothing_waits_for_them() -> None:
    assert awaited([SEEN, SILENT], 0.0) == (SEEN,)
    assert awaited([SEEN, SILENT], None) == (SEEN, SILENT)


def test_descriptions_and_patterns_are_as_long_as_aws_takes_them() -> None:
    for each in detections():
        assert len(alarm(each, "p", "topic")["AlarmDescription"]) <= 1024
        assert len(metric_filter(each, "p")["filterPattern"] or "") <= 1024
    assert alarm(counted(description="x" * 2000), "p", "t")["AlarmDescription"].endswith("…")
