"""What somebody should be told of: the detections of deploy/detections, ready for a SIEM.

detections.json, beside this file, is made from the Sigma rules there by
deploy/detections/generate.py; a test holds it current. Nothing here is needed to forward.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import msgspec

Level = Literal["informational", "low", "medium", "high", "critical"]
LONGEST_FILTER: Final = 1024
"""Characters of a metric filter's pattern, at most (CloudWatch Logs API, FilterPattern)."""


class Detection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One detection.

    It fires where at least `threshold` events match within `window` seconds; with `absence`,
    where fewer do: then it is their staying away that counts.

    Over events in our format `json`:

    - `splunk` is a search without an index; put ``index=...`` before it. It answers a row for each
      time that it fires, and looks at whatever time range it is given: give it `window`.
    - `cloudwatch` is the pattern of a CloudWatch metric filter that counts what matches, None where
      no such pattern can say it. Where `group_by` names fields, `threshold` is meant for each of
      their values: without a dimension for them the count is of all together.
    - `logs_insights` is a query of CloudWatch Logs Insights, where `cloudwatch` is None or cannot
      group.

    `lists` names what a user fills in (see `filled`); as they are, the lists are empty.
    """

    name: str
    id: str
    title: str
    description: str
    level: Level
    tags: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    false_positives: tuple[str, ...]
    kinds: tuple[str, ...]
    window: float
    threshold: int = 1
    absence: bool = False
    group_by: tuple[str, ...] = ()
    splunk: str
    cloudwatch: str | None = None
    logs_insights: str | None = None
    lists: tuple[str, ...] = ()


@cache
def detections() -> tuple[Detection, ...]:
    """Return all detections, by name."""
    text = files(__package__).joinpath("detections.json").read_bytes()
    return msgspec.json.decode(text, type=tuple[Detection, ...])


def filled(detection: Detection, lists: Mapping[str, Iterable[str]]) -> Detection:
    """Return `detection` with the user's `lists` in its searches; empty ones exempt nobody.

    Raises:
        ValueError: where a CloudWatch pattern would be longer than `LONGEST_FILTER`.
    """
    splunk, cloudwatch = detection.splunk, detection.cloudwatch
    for name in detection.lists:
        names = tuple(dict.fromkeys(lists.get(name, ())))
        if not names:
            continue
        quoted = [_quoted(each) for each in names]
        empty = _quoted(f"%{name}%")
        splunk = splunk.replace(f"={empty}", f" IN ({', '.join(quoted)})")
        if cloudwatch:
            cloudwatch = _each(cloudwatch, empty, quoted)
    if cloudwatch and len(cloudwatch) > LONGEST_FILTER:
        listed = ", ".join(detection.lists)
        raise ValueError(
            f"{detection.name}: with so many in {listed} the metric filter has"
            f" {len(cloudwatch)} characters; CloudWatch allows {LONGEST_FILTER}"
        )
    return msgspec.structs.replace(detection, splunk=splunk, cloudwatch=cloudwatch)


def _each(pattern: str, empty: str, quoted: list[str]) -> str:
    """Return `pattern` with its comparison with `empty` made for each of `quoted`."""
    before, found, after = pattern.partition(f" != {empty}")
    if not found:
        return pattern
    selector = before.rpartition("$")[2]
    both = " && ".join(f"${selector} != {each}" for each in quoted)
    return f"{before.removesuffix('$' + selector)}({both}){after}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
