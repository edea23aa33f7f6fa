"""The metric filters are CloudWatch's grammar, and count what the rules say."""

import json
from collections import Counter
from collections.abc import Iterable

import pytest

from forwarder.detections import Detection, detections, filled
from forwarder.formats import FORMATS
from forwarder.model import Event
from tests.fakes import cases
from tests.fakes.metric_filter import PatternError, compiled

LISTS = {"may_skip_hook": ["release.bot", "build.agent"]}
COUNTED = [filled(each, LISTS) for each in detections() if each.cloudwatch]


def fires(detection: Detection, events: Iterable[Event]) -> bool:
    """Return whether an alarm on the metric, one for each value of `group_by`, goes off."""
    matches = compiled(str(detection.cloudwatch))
    lines = [json.loads(FORMATS["json"].encode(event)) for event in events]
    counts = Counter(_group(line, detection.group_by) for line in lines if matches(line))
    most = max(counts.values(), default=0)
    return (most < detection.threshold) is detection.absence


def _group(line: object, fields: Iterable[str]) -> tuple[object, ...]:
    found = []
    for field in fields:
        value = line
        for name in field.split("."):
            value = value[name] if isinstance(value, dict) else None
        found.append(value)
    return tuple(found)


def in_window(case: list[Event], seconds: float) -> list[Event]:
    """Return what the last window of a case holds."""
    return [one for one in case if (case[-1].occurred_at - one.occurred_at).seconds < seconds]


@pytest.mark.parametrize("detection", COUNTED, ids=lambda each: each.name)
def test_a_metric_filter_counts_what_its_rule_sees(detection: Detection) -> None:
    loud = cases.cases(detection.name, "fires")
    silent = cases.cases(detection.name, "silent")
    window = detection.window if detection.threshold > 1 else 86_400
    assert all(fires(detection, in_window(case, window)) for case in loud)
    assert not any(fires(detection, in_window(case, window)) for case in silent)


def test_what_no_metric_filter_can_say_has_a_query_instead() -> None:
    without = [each for each in detections() if each.cloudwatch is None]
    assert {each.name for each in without} == {
        "block_lifted_by_allowlist",
        "protection_off_and_on_again",
        "protection_off_around_push",
    }
    assert all(each.logs_insights for each in without)


@pytest.mark.parametrize(
    "pattern",
    [
        '$.kind = "a"',
        "{ $.kind = hook.skipped }",
        '{ $.kind = "a" AND $.action = b }',
        '{ ($.kind = "a" }',
        '{ $.kind == "a" }',
        '{ NOT $.kind = "a" }',
        '{ $.changes[*].to = "a" }',
        '{ $.kind = "a" } }',
        '{ $.kind = "' + "a" * 1024 + '" }',
    ],
)
def test_the_evaluator_refuses_what_cloudwatch_would(pattern: str) -> None:
    with pytest.raises(PatternError):
        compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        # From AWS's own page, over its own example.
        ('{ $.eventType = "UpdateTrail" }', True),
        ('{ $.sourceIPAddress != "123.123.*" }', True),
        ('{ $.arrayKey[0] = "value" }', True),
        ("{ $.objectList[1].id = 2 }", True),
        ("{ $.SomeOtherObject NOT EXISTS }", True),
        ('{ $.eventType = "updatetrail" }', False),
        ('{ $.eventType = "Update*" }', True),
        ('{ $.eventType = "Up*Trail" }', False),
        ("{ $.arrayKey = 1 }", False),
        ("{ $.arrayKey != 1 }", False),
        ("{ $.SomeOtherObject != 1 }", False),
        ("{ $.objectList[0].id = 1 || $.eventType = a && $.eventType = b }", True),
        ("{ ($.objectList[0].id = 1 || $.eventType = a) && $.eventType = b }", False),
    ],
)
def test_the_evaluator_reads_as_cloudwatch_does(pattern: str, matches: bool) -> None:
    event = {
        "eventType": "UpdateTrail",
        "sourceIPAddress": "111.111.111.111",
        "arrayKey": ["value", "another value"],
        "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
        "SomeObject": None,
    }
    assert compiled(pattern)(event) is matches
