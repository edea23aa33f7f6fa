"""The searches for Splunk find what the rules say, read as Splunk's manuals say."""

import json

import pytest

from forwarder.detections import Detection, detections, filled
from forwarder.formats import FORMATS
from forwarder.model import Event
from tests.fakes import cases, spl

LISTS = {"may_skip_hook": ["release.bot", "build.agent"]}
ALL = [filled(each, LISTS) for each in detections()]


def fires(detection: Detection, events: list[Event], *, sent: int = 1) -> bool:
    """Return whether it finds something in any stretch as long as its window."""
    lines = [(one.occurred_at.timestamp(), FORMATS["json"].encode(one)) for one in events]
    ends = [at for at, _ in lines] or [0.0]
    looks = ([line for line in lines if end - detection.window <= line[0] <= end] for end in ends)
    return any(spl.found(detection.splunk, sorted(seen * sent)) for seen in looks)


@pytest.mark.parametrize("detection", ALL, ids=lambda each: each.name)
def test_a_search_for_splunk_finds_what_its_rule_sees(detection: Detection) -> None:
    assert all(fires(detection, case) for case in cases.cases(detection.name, "fires"))
    silent = cases.cases(detection.name, "silent")
    assert not any(fires(detection, case) for case in silent if not detection.absence)
    if detection.absence:
        assert not any(spl.found(detection.splunk, _lines(case)) for case in silent)


def test_what_arrives_twice_counts_once() -> None:
    (many,) = (each for each in ALL if each.name == "many_findings_reviewed")
    nearly, *_ = cases.cases(many.name, "silent")
    assert len(nearly) == many.threshold - 1
    assert not fires(many, nearly, sent=2)


def _lines(case: list[Event]) -> list[tuple[float, bytes]]:
    return [(one.occurred_at.timestamp(), FORMATS["json"].encode(one)) for one in case]


@pytest.mark.parametrize(
    ("search", "matches"),
    [
        ('kind="HOOK.skipped"', True),
        ('kind IN ("a", "hook.*")', True),
        ('NOT nobody="x"', True),
        ("nobody=*", False),
        ('"changes{}.to"="warn" "changes{}.to"="off"', True),
        ('NOT "changes{}.to"="warn"', False),
        # OR goes before AND.
        ('kind=a kind=b OR kind="hook.skipped"', False),
        ('(kind=a kind=b) OR kind="hook.skipped"', True),
    ],
)
def test_the_reader_of_searches_reads_as_splunk_does(search: str, matches: bool) -> None:
    line = {"kind": "hook.skipped", "changes": [{"to": "warn"}, {"to": "off"}]}
    assert bool(spl.found(search, [(0.0, json.dumps(line).encode())])) is matches


@pytest.mark.parametrize(
    "search",
    [
        'kind="a" OR',
        'kind IN "a"',
        '(kind="a"',
        "kind=a\n| transaction kind",
        "kind=a\n| stats foo(x) as y",
    ],
)
def test_the_reader_of_searches_refuses_the_rest(search: str) -> None:
    with pytest.raises(spl.SplError):
        spl.found(search, [])
