"""A detection as a metric filter and an alarm, in AWS's own words. Pure.

The members are those of PutMetricFilter and PutMetricAlarm, which are also the properties of
CloudFormation's AWS::CloudWatch::Alarm: the templates of deploy/cloudwatch are made of the same.
"""

import math
from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from forwarder.detections import Detection
from forwarder.span import span

_MINUTE: Final = 60
_HOUR: Final = 3600
LATE: Final = _HOUR
"""Seconds by which an event may come late and still alarm: metrics go by the event's own time.

As long an alarm stays on after its last event, and mails no second time while it is on.
"""
_DESCRIBED: Final = 1024
"""Characters of a description, at most (PutMetricAlarm, AlarmDescription)."""


def name(detection: Detection, prefix: str) -> str:
    """Return the name of its metric filter, which is also its alarm's."""
    return f"{prefix}-{detection.name.replace('_', '-')}"


def metric_filter(detection: Detection, prefix: str) -> dict[str, Any]:
    """Return the members of PutMetricFilter, but for the log group; `cloudwatch` is not None."""
    transformation = {
        "metricName": detection.name,
        "metricNamespace": prefix,
        "metricValue": "1",
    }
    return {
        "filterName": name(detection, prefix),
        "filterPattern": detection.cloudwatch,
        "metricTransformations": [transformation],
    }


def alarm(detection: Detection, prefix: str, topic: Any) -> dict[str, Any]:  # noqa: ANN401  an ARN, or a template's word for it
    """Return the members of PutMetricAlarm, but for the tags; it tells `topic`.

    Nothing that is counted is well, but where `absence` is what counts: there it is the alarm, and
    the end of it is told too.
    """
    period, periods, of_them = _timing(detection)
    return {
        "AlarmName": name(detection, prefix),
        "AlarmDescription": _description(detection),
        "ActionsEnabled": True,
        "AlarmActions": [topic],
        "OKActions": [topic] if detection.absence else [],
        "Namespace": prefix,
        "MetricName": detection.name,
        "Statistic": "Sum",
        "Period": period,
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": of_them,
        "Threshold": float(detection.threshold),
        "ComparisonOperator": (
            "LessThanThreshold" if detection.absence else "GreaterThanOrEqualToThreshold"
        ),
        "TreatMissingData": "breaching" if detection.absence else "notBreaching",
    }


def condition(detection: Detection) -> str:
    """Return when the alarm goes off, in words."""
    count = f"{detection.threshold} event" + ("s" if detection.threshold != 1 else "")
    if detection.absence:
        return f"fewer than {count} in {span(detection.window)}"
    together = " (of all together)" if detection.group_by else ""
    return f"{count} or more in {span(detection.window)}{together}"


def awaited(detections: Iterable[Detection], heartbeat: float | None) -> tuple[Detection, ...]:
    """Return `detections` so that those whose events stay away expect only what comes.

    `heartbeat` is the seconds between two heartbeats: three fit into their window. 0 is none at
    all, and then nothing is expected; None is as often as it comes by default.
    """
    if heartbeat is None:
        return tuple(detections)
    window = float(math.ceil(3 * heartbeat / _HOUR) * _HOUR)
    return tuple(
        replace(each, window=max(each.window, window)) if each.absence else each
        for each in detections
        if heartbeat or not each.absence
    )


def _timing(detection: Detection) -> tuple[int, int, int]:
    """Return the period in seconds, how many are looked at, and how many of them must be bad.

    Periods are whole minutes, and all together a day at most, a week where each is an hour or more
    (PutMetricAlarm, Period).
    """
    window = math.ceil(detection.window / _MINUTE) * _MINUTE
    if detection.absence:
        # In hours, so that it is told after the last of them and not after twice the window.
        period = _HOUR if window % _HOUR == 0 else window
        return period, window // period, window // period
    if detection.threshold > 1:
        return window, 1, 1
    return window, max(1, LATE // window), 1


def _description(detection: Detection) -> str:
    why = " ".join(detection.description.replace("**", '"').split())
    for name_of_list in detection.lists:
        why = why.replace(f"%{name_of_list}%", name_of_list)
    said = (
        f"{detection.title} ({detection.level}).",
        why,
        f"Events of kind {', '.join(detection.kinds)}.",
    )
    text = " ".join(said)
    return text if len(text) <= _DESCRIBED else f"{text[: _DESCRIBED - 1]}…"
