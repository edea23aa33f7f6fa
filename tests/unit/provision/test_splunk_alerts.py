"""An alert looks at every event once, and says the same thing once."""

import re

import pytest

from forwarder.detections import Detection, detections
from forwarder.provision.splunk.alerts import email, name_of, saved_search

EVENTS = 'index="security"'
BASE = {
    "name": "made_up",
    "id": "5b1a6b37-4f42-4a6b-9c7f-3f3c0a0e7a11",
    "title": "Made up",
    "description": "Something\nhappened.",
    "level": "high",
    "false_positives": ("A trial",),
    "kinds": ("hook.skipped",),
}  # fmt: skip


def detection(**more: object) -> Detection:
    given = {"splunk": 'kind="hook.skipped"', "window": 300.0, **BASE, **more}
    return Detection(**given)  # type: ignore[arg-type]


def test_single_events_are_looked_at_when_they_are_indexed_however_late_they_come() -> None:
    alert = saved_search(detection(), events=EVENTS)
    assert alert["search"].startswith(
        'index="security" _index_earliest=-6m@m _index_latest=-1m@m (kind="hook.skipped") |'
    )
    assert (alert["cron_schedule"], alert["realtime_schedule"]) == ("*/5 * * * *", "0")
    assert (alert["dispatch.earliest_time"], alert["alert.suppress"]) == ("-7d@d", "0")


def test_what_counts_over_a_window_overlaps_and_tells_each_person_once_in_it() -> None:
    search = 'kind="a" OR kind="b"\n| stats count by actor.name\n| where count>=3'
    counting = detection(splunk=search, window=3600.0, threshold=3, group_by=("actor.name",))
    alert = saved_search(counting, events=EVENTS)
    assert alert["search"] == (
        'index="security" (kind="a" OR kind="b") | stats count by actor.name | where count>=3'
    )
    assert alert["dispatch.earliest_time"] == "-65m@m"
    assert alert["alert.suppress.fields"] == "actor.name"
    assert (alert["alert.suppress.period"], alert["alert.digest_mode"]) == ("3600s", "0")


def test_silence_is_looked_for_over_its_window_and_told_once_in_it() -> None:
    search = 'kind="forwarder.heartbeat"\n| stats count\n| where count=0'
    silent = detection(splunk=search, window=10800.0, absence=True)
    alert = saved_search(silent, events=EVENTS)
    assert alert["dispatch.earliest_time"] == "-180m@m"
    assert (alert["cron_schedule"], alert["alert.suppress.period"]) == ("*/15 * * * *", "10800s")
    assert "alert.suppress.fields" not in alert


def test_a_search_on_several_lines_becomes_one_and_its_texts_stay_as_they_are() -> None:
    alert = saved_search(detection(splunk='x="two  spaces"\n  | dedup x\n'), events=EVENTS)
    assert '(x="two  spaces") | dedup x | dedup event_id' in alert["search"]


def test_the_email_says_what_happened_and_when_it_is_harmless() -> None:
    told = email(detection(references=("https://example.com",)), ["a@example.com", "b@example.com"])
    assert told["action.email.to"] == "a@example.com, b@example.com"
    assert told["action.email.subject"] == "[Soteri] high: Made up"
    assert told["action.email.message.alert"].splitlines() == [
        "Something happened.",
        "Harmless where it is:",
        "- A trial",
        "Reference: https://example.com",
    ]


@pytest.mark.parametrize("each", detections(), ids=name_of)
def test_no_field_holds_what_a_conf_file_cannot(each: Detection) -> None:
    for name, value in saved_search(each, events=EVENTS).items():
        assert "\n" not in value, name
        assert value == value.strip(), name


@pytest.mark.parametrize("each", detections(), ids=name_of)
def test_every_bracket_and_quote_of_a_search_is_closed(each: Detection) -> None:
    search = saved_search(each, events=EVENTS)["search"]
    without_text = re.sub(r'"(?:[^"\\]|\\.)*"', "", search)
    assert '"' not in without_text
    assert without_text.count("(") == without_text.count(")")
    assert "||" not in without_text.replace(" ", "")
