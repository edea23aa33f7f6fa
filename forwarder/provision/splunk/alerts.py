"""From a detection to Splunk's saved search: the fields of the endpoint saved/searches. Pure.

Splunk, "REST API Reference", saved/searches; savedsearches.conf.spec says what each field does.
"""

import re
from collections.abc import Sequence
from typing import Final

from forwarder.detections import Detection, Level

PREFIX: Final = "soteri_"
"""Of each saved search's name; the detection's own, which stays, is the rest."""
MARK: Final = "soteri-forwarder detection"
"""In each description: whose it is, also after the detection is gone from a later release."""
ONE_EVENT: Final = 300.0
"""Seconds of a detection's window, at most, that looks at one event at a time."""

# Splunk Web: Info, Low, Medium, High, Critical.
_SEVERITIES: Final[dict[Level, str]] = {
    "informational": "1",
    "low": "2",
    "medium": "3",
    "high": "4",
    "critical": "5",
}
_SHOWN: Final = "_time, kind, action, actor.name, objects{}.name, address, event_id"
_PIPE: Final = re.compile(r"\n\s*\|")
_SETTLING: Final = 60.0
"""Seconds until what was indexed can be searched."""


def name_of(detection: Detection) -> str:
    """Return the saved search's name."""
    return f"{PREFIX}{detection.name}"


def saved_search(detection: Detection, *, events: str) -> dict[str, str]:
    """Return the fields of the alert without those that depend on whom it tells.

    `events` is the search that finds our events: index and source type, or a macro. It goes into
    the detection's own in front of the first pipe, which is otherwise as it is.

    A detection of single events looks at what was indexed since it last looked, not at when it
    happened: so it sees each event once, also one that an outage delayed by up to a week, and no
    run is left out (`realtime_schedule`). One that counts over a window, or waits for what stays
    away, looks at when it happened, and says the same thing once in a window.
    """
    every = _every(detection)
    look = (
        _one_by_one(detection, events, every)
        if _is_single(detection)
        else _over_a_window(detection, events, every)
    )
    return {
        "description": f"{_line(detection.description)} ({MARK} {detection.id})",
        "is_scheduled": "1",
        "disabled": "0",
        "cron_schedule": f"*/{int(every) // 60} * * * *",
        "alert_type": "number of events",
        "alert_comparator": "greater than",
        "alert_threshold": "0",
        "alert.track": "1",
        "alert.severity": _SEVERITIES[detection.level],
        **look,
    }


def email(detection: Detection, recipients: Sequence[str]) -> dict[str, str]:
    """Return the fields of the e-mail that the alert sends."""
    said = [_line(detection.description)]
    if detection.false_positives:
        said.append("Harmless where it is:")
        said += [f"- {_line(text)}" for text in detection.false_positives]
    said += [f"Reference: {text}" for text in detection.references]
    return {
        "actions": "email",
        "action.email": "1",
        "action.email.to": ", ".join(recipients),
        "action.email.subject": f"[Soteri] {detection.level}: {detection.title}",
        "action.email.message.alert": "\n".join(said),
        "action.email.format": "table",
        "action.email.sendresults": "1",
        "action.email.inline": "1",
        "action.email.include.results_link": "1",
        "action.email.include.view_link": "1",
    }


def with_email(actions: str) -> str:
    """Return the actions of an alert, the e-mail among them: others are let be."""
    there = [each for text in actions.split(",") if (each := text.strip())]
    return actions if "email" in there else ",".join([*there, "email"])


def _is_single(detection: Detection) -> bool:
    return detection.window <= ONE_EVENT and not detection.absence and not detection.group_by


def _every(detection: Detection) -> float:
    """Return the seconds between two runs: five minutes, or a quarter of an hour over hours."""
    return 300.0 if detection.window <= 3600 else 900.0


def _one_by_one(detection: Detection, events: str, every: float) -> dict[str, str]:
    since, until = int(every + _SETTLING) // 60, int(_SETTLING) // 60
    indexed = f"_index_earliest=-{since}m@m _index_latest=-{until}m@m"
    return {
        "search": f"{_inside(f'{events} {indexed}', detection.splunk)}"
        f" | dedup event_id | table {_SHOWN}",
        "dispatch.earliest_time": "-7d@d",
        "dispatch.latest_time": "+1d",
        "realtime_schedule": "0",
        "alert.digest_mode": "1",
        "alert.suppress": "0",
    }


def _over_a_window(detection: Detection, events: str, every: float) -> dict[str, str]:
    # Whatever fits into a window lies whole in one of the runs only if they overlap.
    back = detection.window if detection.absence else detection.window + every
    throttled = {"alert.digest_mode": "1"}
    if detection.group_by:
        throttled = {
            "alert.digest_mode": "0",
            "alert.suppress.fields": ",".join(detection.group_by),
        }
    return {
        "search": _inside(events, detection.splunk),
        "dispatch.earliest_time": f"-{int(back) // 60}m@m",
        "dispatch.latest_time": "now",
        "realtime_schedule": "1",
        "alert.suppress": "1",
        "alert.suppress.period": f"{int(detection.window)}s",
        **throttled,
    }


def _inside(events: str, search: str) -> str:
    """Return `search` over `events` alone, on one line: a conf file's values have one."""
    which, *commands = _PIPE.split(search)
    return " | ".join([f"{events} ({_line(which)})", *map(_line, commands)])


def _line(text: str) -> str:
    """Return `text` on one line."""
    return " ".join(stripped for each in text.split("\n") if (stripped := each.strip()))
