"""Each rule fires for its events and for nothing else: run by SQLite over what sinks send."""

from collections.abc import Iterable
from functools import cache

import msgspec
import pytest
from sigma.backends.sqlite import sqliteBackend
from sigma.exceptions import SigmaTransformationError

from deploy.detections import generate
from forwarder.app.trial import synthetic
from forwarder.detections import Detection, detections
from forwarder.formats import FORMATS
from forwarder.model import Event, Record
from forwarder.normalizers.catalogue import shipped
from forwarder.normalizers.soteri import CATEGORY
from forwarder.provision.splunk.alerts import ONE_EVENT
from forwarder.simulator.catalogue import invented
from forwarder.simulator.generator import Generator, Mixture
from forwarder.sources.bitbucket_audit import wire
from tests.fakes import cases, siem
from tests.fakes.normalized import normalize

NAMES = generate.names()
SCHEMAS = {"json": siem.JSON, "ecs": siem.ECS, "audit_log": siem.AUDIT_LOG}
IN_AUDIT_LOG = {
    "audit_coverage_lowered",
    "events_about_to_be_lost",
    "hook_skipped",
    "hook_skipped_by_outsider",
    "soteri_silent",
}
"""The rules whose every action has a text that is known for certain."""


@cache
def query(name: str, format_name: str) -> str:
    """Return what pySigma's SQLite backend makes of a rule for events in that format."""
    schema = SCHEMAS[format_name]
    pipeline = generate.pipeline("lists")
    pipeline.vars["may_skip_hook"] = ["build.agent"]
    if format_name != "json":
        pipeline += generate.pipeline(format_name)
    backend = sqliteBackend(
        pipeline,
        timestamp_field=schema.time,
        event_id_field=schema.event_id,
        collate_nocase=True,
    )
    (made,) = backend.convert(generate.collection(name))
    return str(made)


def fired(names: Iterable[str], events: Iterable[Event], format_name: str = "json") -> list[str]:
    """Return which of `names` find something where `events` are all that there is."""
    lines = [FORMATS[format_name].encode(event) for event in events]
    with siem.table(lines, SCHEMAS[format_name]) as logs:
        return [name for name in names if logs.execute(query(name, format_name)).fetchall()]


def fires(name: str, events: Iterable[Event], format_name: str = "json") -> bool:
    return fired([name], events, format_name) == [name]


def test_every_detection_has_cases() -> None:
    assert cases.names() == {each.name for each in detections()}


@pytest.mark.parametrize("format_name", ["json", "ecs"])
@pytest.mark.parametrize("name", NAMES)
def test_a_rule_fires_for_its_events_and_for_none_that_only_look_like_them(
    name: str, format_name: str
) -> None:
    loud = [fires(name, case, format_name) for case in cases.cases(name, "fires")]
    silent = [fires(name, case, format_name) for case in cases.cases(name, "silent")]
    assert loud
    assert silent
    assert all(loud), loud
    assert not any(silent), silent


@pytest.mark.parametrize("name", NAMES)
def test_in_the_audit_log_format_a_rule_fires_where_all_texts_are_known(name: str) -> None:
    if name not in IN_AUDIT_LOG:
        with pytest.raises(SigmaTransformationError, match="format audit_log"):
            query(name, "audit_log")
        return
    assert all(fires(name, case, "audit_log") for case in cases.cases(name, "fires"))
    assert not any(fires(name, case, "audit_log") for case in cases.cases(name, "silent"))


# Of Soteri's events of the simulator, those that nobody need be told of.
UNREMARKABLE = {
    "Security hook blocked push",
    "Security hook warned about push",
    "Finding marked as reviewed",
    "Finding unmarked as reviewed",
    "Manual scan started",
    "Custom rule created",
}


def usual_days() -> list[Event]:
    """Return a fortnight of the simulator's Bitbucket, without what is remarkable."""
    generator = Generator(
        7, catalogue=invented(), mixture=Mixture(), host="https://b", purpose="history"
    )
    start = int(cases.START.timestamp() * 1000)
    arrivals = generator.history(4000, start_ms=start, end_ms=start + 14 * 86_400_000)
    events = []
    for arrival in arrivals:
        record = wire.record(msgspec.Raw(arrival.body), namespace="bitbucket")
        assert isinstance(record, Record)
        if record.category != CATEGORY or record.action in UNREMARKABLE:
            events.append(normalize(record, source="bitbucket"))
    return events


ALONE = [each for each in detections() if each.window == ONE_EVENT and not each.absence]


@pytest.mark.parametrize("detection", ALONE, ids=lambda each: each.name)
def test_a_detection_of_one_event_fires_for_a_test_alert(detection: Detection) -> None:
    kinds = [shipped()[kind] for kind in detection.kinds]
    assert fires(detection.name, [synthetic(kind, cases.START) for kind in kinds])


def test_nothing_fires_in_usual_days() -> None:
    events = usual_days()
    kinds = {event.kind for event in events}
    assert kinds >= {"hook.blocked", "hook.warned", "finding.reviewed", "rule.custom_created"}
    assert len(events) > 3000
    assert fired(NAMES, events) == []
