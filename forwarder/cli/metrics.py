"""`metrics`: what /metrics tells, for people, for machines and for docs/metrics.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from forwarder.cli.terminal import say_json, show, shown, table


def metrics(
    *,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON array.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/metrics.md.")] = False,
) -> None:
    """List every metric: its name, type and labels, and what it means.

    Examples:

      soteri-forwarder metrics

      soteri-forwarder metrics --json | jq -r '.[].name'
    """
    from forwarder.telemetry import METRICS

    if json:
        say_json(METRICS)
    elif markdown:
        sys.stdout.write("\n".join(_page()))
    else:
        rows = table("metric", "type", "labels", "what it says")
        for one in METRICS:
            rows.add_row(one.name, one.type, ", ".join(one.labels), shown(one.text))
        show(rows)


def _page() -> Iterator[str]:
    from forwarder.telemetry import METRICS

    yield """\
# Metrics

`/metrics` of the server (`[server] listen`, by default `127.0.0.1:9187`), in Prometheus' text
format; the same go out by OTLP where `[telemetry.otlp]` is configured. This page is printed by
`soteri-forwarder metrics --markdown`. A dashboard is in `deploy/grafana/`, alerting rules with
their tests are in `deploy/prometheus/`.

Durations are seconds, sizes bytes, times seconds since 1970. Counters begin anew with the process,
but for `forwarder_events_late_total`, which the store keeps. Beside these there are the
`process_*` metrics that every Prometheus client has.

| metric | type | labels | what it says |
|---|---|---|---|"""
    for one in METRICS:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        yield f"| `{one.name}` | {one.type} | {labels} | {one.text} |"
    yield """
`reason` of a dead letter: `unreadable`, `malformed`, `too_large`, `too_old`, `too_new`, `expired`,
`refused`. `outcome`: `ok`, `transient` (tried again), `access` (refused), `permanent`, `held`
(waits for room or a person), `bug`; of a look also `denied` (part of what is asked for is not
allowed). `cause`: `source_retention`, `sink_age`, `store_capacity`. `kind` is that of the event
that began the condition (docs/events.md).
"""
