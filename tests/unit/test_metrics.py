"""Metrics: what is asked of them, in the page, the dashboard and the rules, is there."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from forwarder.model import (
    AuditSettings,
    Condition,
    LossHorizon,
    SinkStatus,
    SourceStatus,
    Status,
)
from forwarder.telemetry import METRICS, REGISTRY, publish

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "deploy/prometheus/soteri-forwarder.rules.yml").read_text("utf-8"))
TESTS = yaml.safe_load((ROOT / "deploy/prometheus/soteri-forwarder.test.yml").read_text("utf-8"))
DASHBOARD = json.loads((ROOT / "deploy/grafana/soteri-forwarder.json").read_text("utf-8"))
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}

# What Prometheus itself puts on every series that it scrapes.
SCRAPED = {"instance", "job"}
# {{name}} in a legend, $labels.name in an annotation.
LABEL_SHOWN = r"\{\{(\w+)\}\}|\$labels\.(\w+)"
OTHERS = {
    name: set()
    for name in (
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    )
}


def known() -> dict[str, set[str]]:
    """Return the labels of every series that there is, by its name."""
    found = dict(OTHERS)
    for metric in METRICS:
        labels = set(metric.labels)
        if metric.type == "histogram":
            found[f"{metric.name}_bucket"] = labels | {"le"}
            found[f"{metric.name}_sum"] = found[f"{metric.name}_count"] = labels
        else:
            found[metric.name] = labels
    return found


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation


def parsed(written: str) -> Any:
    """Parse a query; Grafana puts durations and values in the place of its own variables."""
    query = written.replace("$__rate_interval", "5m").replace("$instance", ".*")
    return promql.parse(query)


def selectors(node: Any) -> Iterator[Any]:
    """Yield every selector below a node of the expression's tree."""
    if isinstance(node, promql.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if (inner := getattr(node, name, None)) is not None:
            yield from selectors(inner)
    for inner in getattr(node, "args", ()):
        yield from selectors(inner)


def labels_named(node: Any) -> Iterator[str]:
    """Yield every label that an aggregation or a comparison of series goes by."""
    modifier = getattr(node, "modifier", None)
    for grouping in (modifier, getattr(modifier, "matching", None)):
        yield from getattr(grouping, "labels", None) or ()
    for name in ("expr", "lhs", "rhs"):
        if (inner := getattr(node, name, None)) is not None:
            yield from labels_named(inner)
    for inner in getattr(node, "args", ()):
        yield from labels_named(inner)


def mistakes(query: str, *, shown: str = "") -> list[str]:
    """Return what a query, or the text shown beside it, asks for that is not there."""
    tree, there = parsed(query), known()
    found = list(selectors(tree))
    if not found:
        return [f"{query} selects nothing"]
    wrong = [f"{one.name} is no metric" for one in found if one.name not in there]
    labels = set().union(*(there.get(one.name, set()) for one in found)) | SCRAPED
    for one in found:
        asked = {matcher.name for matcher in one.matchers.matchers}
        wrong += [f"{one.name} has no label {name}" for name in asked - there[one.name] - SCRAPED]
    wrong += [f"{query} goes by {name}" for name in set(labels_named(tree)) - labels]
    named = {legend or annotation for legend, annotation in re.findall(LABEL_SHOWN, shown)}
    wrong += [f"{shown} shows {name}" for name in named - labels]
    return wrong


def test_the_page_is_the_one_that_the_command_prints():
    page = subprocess.run(
        [sys.executable, "-m", "forwarder", "metrics", "--markdown"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    assert (ROOT / "docs" / "metrics.md").read_text("utf-8") == page.stdout.decode()


def test_names_follow_prometheus_conventions():
    for metric in METRICS:
        assert re.fullmatch(r"forwarder_[a-z_]+[a-z]", metric.name)
        assert metric.name.endswith("_total") == (metric.type == "counter"), metric.name
        assert not re.search(r"_(ms|minutes|hours|days|kb|mb|percent)\b", metric.name)
        assert metric.text.endswith("."), metric.name
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_every_metric_that_is_registered_is_described_and_the_other_way_round():
    registered = set()
    for family in REGISTRY.collect():
        if family.name.startswith("forwarder_"):
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            registered.add(f"{family.name}{suffix}")
    assert registered == {metric.name for metric in METRICS}


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("sum(forwarder_backlog)", "forwarder_backlog is no metric"),
        ('forwarder_lag_seconds{source="a"}', "has no label source"),
        ("sum by (source) (forwarder_lag_seconds)", "goes by source"),
        ("1 + 1", "selects nothing"),
    ],
)
def test_a_query_for_what_is_not_there_is_found(query: str, wrong: str):
    try:
        said = mistakes(query)
    except KeyError as error:
        said = [f"{error.args[0]} is no metric"]
    assert any(wrong in each for each in said)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_rule_asks_for_metrics_and_labels_that_exist(alert: str):
    rule = ALERTS[alert]
    for text in rule["annotations"].values():
        assert mistakes(rule["expr"], shown=text) == []


@pytest.mark.parametrize(("title", "target"), list(targets()))
def test_every_panel_asks_for_metrics_and_labels_that_exist(title: str, target: dict[str, Any]):
    assert mistakes(target["expr"], shown=target.get("legendFormat", "")) == []


@pytest.mark.parametrize(("title", "target"), list(targets()))
def test_what_every_replica_says_of_the_store_is_not_added_up(title: str, target: dict[str, Any]):
    tree = parsed(target["expr"])
    summed = tree.expr if getattr(tree, "op", None) and str(tree.op) == "sum" else None
    said = {"forwarder_events_late_total", "forwarder_dead_letters", "forwarder_backlog_events"}
    if summed is not None and not isinstance(summed, promql.AggregateExpr):
        assert not {one.name for one in selectors(summed)} & said, title


def test_every_metric_is_on_the_dashboard():
    asked = {one.name for _, target in targets() for one in selectors(parsed(target["expr"]))}
    left = {metric.name for metric in METRICS if metric.type != "histogram"} - asked
    assert left == {
        # Told by the state, or of use to few.
        "forwarder_events_correlated_total",
        "forwarder_paused",
        "forwarder_waiting",
        "forwarder_polled_timestamp_seconds",
        "forwarder_records_read_total",
        "forwarder_unknown_events",
        "forwarder_events_forgotten_total",
        "forwarder_looks_total",
        "forwarder_next_poll_timestamp_seconds",
        "forwarder_next_try_timestamp_seconds",
        "forwarder_poll_window_seconds",
        "forwarder_stored_timestamp_seconds",
        "forwarder_sent_timestamp_seconds",
        "forwarder_late_by_seconds",
        "forwarder_replicas",
        "forwarder_store_unreachable",
    }


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_rule_has_a_test_in_which_it_fires_and_one_in_which_it_does_not():
    fires, rests = set(), set()
    for test in TESTS["tests"]:
        for case in test["alert_rule_test"]:
            (fires if case["exp_alerts"] else rests).add(case["alertname"])
    assert fires == rests == set(ALERTS)


@pytest.mark.real
@pytest.mark.parametrize("words", [("check", "rules", "rules"), ("test", "rules", "test")])
def test_promtool_finds_the_rules_well(words: tuple[str, str, str]):
    *command, which = words
    done = subprocess.run(
        ["promtool", *command, f"soteri-forwarder.{which}.yml"],
        cwd=ROOT / "deploy" / "prometheus", capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


NOW = datetime(2026, 1, 2, tzinfo=UTC)


def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(REGISTRY).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def status(**changes: Any) -> Status:
    given: dict[str, Any] = {"version": "1", "at": NOW, "running": True, "sources": (), "sinks": ()}
    return Status(**(given | changes))


def test_the_gauges_say_what_the_status_says_and_forget_what_is_gone():
    publish(
        status(
            sources=(
                SourceStatus(
                    name="b",
                    type="t",
                    state="paused",
                    mark=NOW,
                    failures=3,
                    late_events=4,
                    late_by_seconds=2.5,
                    window_start=NOW - timedelta(minutes=5),
                    window_end=NOW,
                    audit=AuditSettings(
                        seen_at=NOW,
                        coverage={"ecosystem": "off", "security": "odd"},
                        excluded_actions=("x", "y"),
                        token_expires_at=NOW,
                    ),
                ),
            ),
            sinks=(
                SinkStatus(name="s", type="t", state="running", backlog_events=7, unacknowledged=2),
                SinkStatus(name="f", type="t", state="running"),
            ),
            loss_horizons=(LossHorizon(part="sinks.s", cause="sink_age", seconds=5.0),),
            conditions=tuple(
                Condition(
                    kind="forwarder.audit_action_excluded",
                    part="sources.b",
                    subject=subject,
                    since_at=NOW,
                    detail="",
                )
                for subject in ("x", "y")
            ),
        )
    )
    said = samples()
    state = {k: v for k, v in said.items() if k[0] == "forwarder_state" and ("name", "b") in k[1]}
    assert [dict(labels)["state"] for (_, labels), value in state.items() if value] == ["paused"]
    assert said["forwarder_paused", (("component", "source"), ("name", "b"))] == 1
    assert said["forwarder_failures", (("component", "source"), ("name", "b"))] == 3
    assert said["forwarder_mark_timestamp_seconds", (("source", "b"),)] == NOW.timestamp()
    assert said["forwarder_audit_coverage_level", (("area", "ecosystem"), ("source", "b"))] == 0
    assert ("forwarder_audit_coverage_level", (("area", "security"), ("source", "b"))) not in said
    assert said["forwarder_events_late_total", (("source", "b"),)] == 4
    assert said["forwarder_late_by_seconds", (("source", "b"),)] == 2.5
    assert said["forwarder_poll_window_seconds", (("source", "b"),)] == 300
    assert said["forwarder_audit_excluded_actions", (("source", "b"),)] == 2
    assert said["forwarder_token_expiry_timestamp_seconds", (("source", "b"),)] == NOW.timestamp()
    assert said["forwarder_backlog_events", (("sink", "s"),)] == 7
    assert said["forwarder_unacknowledged_events", (("sink", "s"),)] == 2
    assert ("forwarder_unacknowledged_events", (("sink", "f"),)) not in said
    assert said["forwarder_loss_horizon_seconds", (("cause", "sink_age"), ("part", "sinks.s"))] == 5
    condition = (("kind", "forwarder.audit_action_excluded"), ("part", "sources.b"))
    assert said["forwarder_conditions", condition] == 2
    publish(status())
    left = {name for name, labels in samples() if dict(labels).keys() & {"source", "sink", "part"}}
    assert not left & {metric.name for metric in METRICS if metric.type == "gauge"} - {
        "forwarder_dead_letters",  # of records
        "forwarder_clock_ahead_seconds",
    }
