"""Makes detections.json of forwarder/detections, and converted/, from the Sigma rules here.

    python -m deploy.detections.generate

Needs pySigma and backends of it (tests/requirements.txt); users need neither.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from sigma.backends.elasticsearch import EqlBackend
from sigma.backends.opensearch import OpensearchLuceneBackend
from sigma.backends.splunk import SplunkBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationType
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule

from deploy.detections.cloudwatch import insights, kinds_of, metric_filter
from forwarder.detections import Detection
from forwarder.provision.splunk.alerts import ONE_EVENT

HERE: Final = Path(__file__).parent
DATA: Final = HERE.parent.parent / "forwarder" / "detections" / "detections.json"
NATIVE: Final = HERE / "native"
CONVERTED: Final = {
    "elasticsearch.eql": (EqlBackend, ("lists", "ecs", "eql")),
    "opensearch.lucene": (OpensearchLuceneBackend, ("lists", "ecs")),
}
"""Files of converted/: whose backend makes each, and with which pipelines."""


def names() -> list[str]:
    """Return the names of the Sigma rules."""
    return sorted(path.stem for path in HERE.glob("*.yml"))


def collection(name: str) -> SigmaCollection:
    """Return a rule, last, behind those of its own file that it refers to; it alone gives a query.

    They are in one file, because pySigma reads folders in no order and sorts rules only in part.
    """
    return SigmaCollection.load_ruleset([HERE / f"{name}.yml"])


def pipeline(name: str) -> ProcessingPipeline:
    """Return ``pipelines/<name>.yaml``."""
    text = (HERE / "pipelines" / f"{name}.yaml").read_text("utf-8")
    return ProcessingPipeline.from_yaml(text)


def made() -> tuple[Detection, ...]:
    """Return all detections, by name."""
    found = [_made(collection(name).rules[-1]) for name in names()] + _natives()
    return tuple(sorted(found, key=lambda each: each.name))


def data() -> bytes:
    """Return what detections.json should be."""
    encoded = msgspec.json.encode([_without_defaults(each) for each in made()])
    return msgspec.json.format(encoded, indent=1) + b"\n"


def converted(name: str) -> str:
    """Return what a file of converted/ should be; rules that its language cannot say are left out.

    Events are in the format ecs.
    """
    backend, pipelines = CONVERTED[name]
    parts = ["// Made by deploy/detections/generate.py, for events in the format ecs.\n"]
    for each in names():
        loaded = collection(each)
        rule = loaded.rules[-1]
        whole = sum(map(pipeline, pipelines[1:]), pipeline(pipelines[0]))
        try:
            (query,) = backend(whole).convert(loaded)
        except NotImplementedError:
            continue
        said = " ".join(str(query).split())
        parts.append(f"// {rule.title} ({rule.name}, {rule.level})\n{said}\n")
    return "\n".join(parts)


def _without_defaults(detection: Detection) -> dict[str, Any]:
    fields = msgspec.structs.fields(detection)
    said = ((field, getattr(detection, field.name)) for field in fields)
    return {field.name: value for field, value in said if value != field.default}


def _made(rule: SigmaRule | SigmaCorrelationRule) -> Detection:
    is_one = isinstance(rule, SigmaRule)
    steps = [_alone(rule)] if is_one else [_alone(each.rule) for each in rule.rules]
    return Detection(
        name=str(rule.name),
        id=str(rule.id),
        title=rule.title,
        description=str(rule.description),
        level=str(rule.level),  # type: ignore[arg-type]
        tags=tuple(str(tag) for tag in rule.tags),
        references=tuple(rule.references),
        false_positives=tuple(rule.falsepositives),
        kinds=tuple(sorted({kind for step in steps for kind in kinds_of(step)})),
        **_searches(rule, steps),
    )


def _searches(rule: SigmaRule | SigmaCorrelationRule, steps: list[SigmaRule]) -> dict[str, Any]:
    found = [_splunk(step) for step in steps]
    if isinstance(rule, SigmaRule):
        return {
            "window": ONE_EVENT,
            "splunk": found[0],
            "cloudwatch": metric_filter(steps[0]),
            "lists": tuple(_lists(found[0])),
        }
    window = {"window": float(rule.timespan.seconds), "group_by": tuple(rule.group_by or ())}
    by = ", ".join(rule.group_by or ())
    if rule.type is SigmaCorrelationType.EVENT_COUNT:
        count = rule.condition.count
        return window | {
            "threshold": count,
            "splunk": f"{found[0]}\n| stats dc(event_id) as events min(_time) as first"
            f" max(_time) as last by {by}\n| where events>={count}",
            "cloudwatch": metric_filter(steps[0]),
            "logs_insights": f"filter {insights(steps[0])}\n| stats count_distinct(event_id)"
            f" as events by {by}\n| filter events >= {count}",
        }
    return window | {
        "splunk": _in_order(found, by),
        "logs_insights": f"filter {' or '.join(f'({insights(step)})' for step in steps)}\n"
        f"| sort {', '.join(f'{field} asc' for field in (*(rule.group_by or ()), '@timestamp'))}\n"
        f"| display @timestamp, {by}, kind, action",
    }


def _splunk(rule: SigmaRule) -> str:
    (query,) = SplunkBackend(pipeline("splunk_json")).convert_rule(_alone(rule))
    return str(query)


def _alone(rule: SigmaRule) -> SigmaRule:
    """Return a copy with its lists empty, which a backend may change, and which gives a query."""
    copy = SigmaRule.from_dict(rule.to_dict())
    pipeline("lists").apply(copy)
    return copy


def _in_order(searches: list[str], by: str) -> str:
    """Return a search for events of each of `searches`, one after the other, of the same `by`.

    The backend's own correlation cuts time into fixed pieces, so that what lies across two of them
    is missed, and knows no order. This takes the earliest first step, the earliest second one that
    is not before it, and so on: if any chain is complete, that one is.
    """
    any_of = " OR ".join(f"({search})" for search in searches)
    lines = [f"({any_of})", "dedup event_id"]
    escaped = [search.replace("\\", "\\\\").replace('"', '\\"') for search in searches]
    cases = ", ".join(f'searchmatch("{each}"), {n}' for n, each in enumerate(escaped, 1))
    lines += [f"eval step=case({cases})", "sort 0 _time"]
    for n in range(1, len(searches) + 1):
        after = f" AND _time>=at{n - 1}" if n > 1 else ""
        earliest = f"min(eval(if(step={n}{after}, _time, null())))"
        lines.append(f"streamstats {earliest} as at{n} by {by}")
    last = len(searches)
    lines.append(f"stats min(at1) as first min(at{last}) as last values(kind) as kinds by {by}")
    lines.append("where isnotnull(last)")
    return "\n| ".join(lines)


def _lists(search: str) -> Iterator[str]:
    """Yield the names of the lists that `search` leaves to its user."""
    parts = search.split("%")
    yield from dict.fromkeys(parts[1::2])


def _natives() -> list[Detection]:
    """Return what Sigma has no words for."""
    found = [yaml.safe_load(path.read_text("utf-8")) for path in sorted(NATIVE.glob("*.yaml"))]
    return [msgspec.convert(each, Detection, strict=False) for each in found]


if __name__ == "__main__":
    DATA.write_bytes(data())
    for each in CONVERTED:
        (HERE / "converted" / each).write_text(converted(each), "utf-8")
    sys.stdout.write(f"{DATA} and converted/ are current.\n")
