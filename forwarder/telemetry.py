"""Every metric: its name, its labels and what it means. docs/metrics.md is printed from here.

What a loop does is counted where it is done, by the page and by the batch; what is so at a moment
is taken over from the status (`publish`) when somebody asks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from forwarder import __version__
from forwarder.model import AuditSettings, SinkStatus, SourceStatus, Status

Outcome = Literal["ok", "transient", "access", "permanent", "held", "bug"]
"""How a poll, a send or a look ended."""
Looked = Literal["ok", "denied", "transient", "access", "bug"]
"""How a watch's look ended; denied: part of what it asks for is not allowed."""

STATES: Final = ("starting", "running", "retrying", "paused", "waiting", "stopped")
"""What a source or sink can be; see `forwarder.pipeline.progress`."""
LEVELS: Final[Mapping[str, int]] = {"off": 0, "base": 1, "advanced": 2, "full": 3}
"""The levels of Bitbucket's audit coverage."""


@dataclass(frozen=True, slots=True)
class Described:
    """A metric as it is asked for; a histogram's samples add _bucket, _sum and _count."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str


disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY: Final = CollectorRegistry()
METRICS: Final[list[Described]] = []
"""Every metric of ours, in the order in which they come below."""


class Total(Collector):
    """A counter that the store has kept over restarts: it is set, not counted."""

    def __init__(self, name: str, text: str, label: str) -> None:
        self._described = name, text, label
        self._values: dict[str, float] = {}
        REGISTRY.register(self)

    def set(self, values: Mapping[str, float]) -> None:
        """Take over what is known, by the label's value."""
        self._values = dict(values)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield it as the registry wants it."""
        name, text, label = self._described
        family = CounterMetricFamily(name, text, labels=[label])
        for value, count in self._values.items():
            family.add_metric([value], count)
        yield family


def _counter(name: str, text: str, *labels: str) -> Counter:
    METRICS.append(Described(f"{name}_total", "counter", labels, text))
    return Counter(name, text, labels, registry=REGISTRY)


def _total(name: str, text: str, label: str) -> Total:
    METRICS.append(Described(f"{name}_total", "counter", (label,), text))
    return Total(name, text, label)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    METRICS.append(Described(name, "gauge", labels, text))
    return Gauge(name, text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    METRICS.append(Described(name, "histogram", labels, text))
    return Histogram(name, text, labels, registry=REGISTRY, buckets=buckets)


METRICS.append(Described("forwarder_build_info", "gauge", ("version",), "The version that runs."))
Info("forwarder_build", "The version that runs.", registry=REGISTRY).info({"version": __version__})
ProcessCollector(registry=REGISTRY)

# ------------------------------------------------------------------------------- every component

STATE: Final = _gauge(
    "forwarder_state",
    f"1 for the state that a source or sink is in, 0 for the others: {', '.join(STATES)}.",
    "component",
    "name",
    "state",
)
PAUSED: Final = _gauge(
    "forwarder_paused",
    "1 while a source or sink is not let in, or holds too many dead letters: it waits for a"
    " person.",
    "component",
    "name",
)
WAITING: Final = _gauge(
    "forwarder_waiting",
    "1 while a source or sink waits for room in the store.",
    "component",
    "name",
)
FAILURES: Final = _gauge(
    "forwarder_failures",
    "Failed tries in a row; 0 where the last one worked.",
    "component",
    "name",
)
RETRIES: Final = _counter(
    "forwarder_retries",
    "Polls and sends that failed and are tried again.",
    "component",
    "name",
)

# -------------------------------------------------------------------------------------- sources

EVENTS_STORED: Final = _counter(
    "forwarder_events_stored", "New events stored in the outbox.", "source"
)
RECORDS_READ: Final = _counter(
    "forwarder_records_read", "Records that a source gave, those known already included.", "source"
)
RECORDS_UNREADABLE: Final = _counter(
    "forwarder_records_unreadable",
    "Records that no normalizer could read; they are dead letters.",
    "source",
)
POLLS: Final = _counter("forwarder_polls", "Polls, by how they ended.", "source", "outcome")
POLL_SECONDS: Final = _histogram(
    "forwarder_poll_seconds",
    "How long a poll took, storing included.",
    "source",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
POLLED: Final = _gauge(
    "forwarder_polled_timestamp_seconds", "When a poll last read everything.", "source"
)
EVENTS_LATE: Final = _total(
    "forwarder_events_late",
    "New events that showed up when the mark had passed their time already.",
    "source",
)
NEXT_POLL: Final = _gauge(
    "forwarder_next_poll_timestamp_seconds", "When the next poll is due.", "source"
)
WINDOW_SECONDS: Final = _gauge(
    "forwarder_poll_window_seconds", "The time range that the last poll read.", "source"
)
STORED_AT: Final = _gauge(
    "forwarder_stored_timestamp_seconds", "When something of a source was stored last.", "source"
)
LATE_BY: Final = _gauge(
    "forwarder_late_by_seconds", "By how much the latest of the late events was late.", "source"
)
MARK_SECONDS: Final = _gauge(
    "forwarder_mark_timestamp_seconds",
    "The high-water mark: everything up to it was read and stored.",
    "source",
)

# ---------------------------------------------------------------------------------------- sinks

EVENTS_SENT: Final = _counter("forwarder_events_sent", "Events that a sink has taken.", "sink")
EVENTS_REPLAYED: Final = _counter(
    "forwarder_events_replayed",
    "Events and dead letters that a sink has taken again because somebody asked.",
    "sink",
)
EVENTS_FILTERED: Final = _counter(
    "forwarder_events_filtered", "Events that a sink does not want (its include, exclude).", "sink"
)
EVENTS_REDACTED: Final = _counter(
    "forwarder_events_redacted",
    "Events sent of which something was left out first (its redact), tries again included.",
    "sink",
)
EVENTS_BURIED: Final = _counter(
    "forwarder_events_buried",
    "Events that a sink refuses for good; they are dead letters.",
    "sink",
    "reason",
)
SENDS: Final = _counter("forwarder_sends", "Batches sent, by how it ended.", "sink", "outcome")
SEND_SECONDS: Final = _histogram(
    "forwarder_send_seconds",
    "How long one batch took, up to its receipt.",
    "sink",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
BACKLOG_EVENTS: Final = _gauge(
    "forwarder_backlog_events", "Stored events that a sink has not taken.", "sink"
)
LAG_SECONDS: Final = _gauge(
    "forwarder_lag_seconds", "Age of the oldest unsent event; 0 where none is.", "sink"
)
SENT_AT: Final = _gauge(
    "forwarder_sent_timestamp_seconds", "When a sink took something last.", "sink"
)
NEXT_TRY: Final = _gauge(
    "forwarder_next_try_timestamp_seconds", "When what failed is tried again.", "sink"
)
UNACKNOWLEDGED: Final = _gauge(
    "forwarder_unacknowledged_events",
    "Events handed over that wait for the destination's own word; only where it gives one later.",
    "sink",
)
DEAD_LETTERS: Final = _gauge(
    "forwarder_dead_letters",
    'Dead letters that are kept; the sink "" is for records that no normalizer could read.',
    "sink",
)
REPLAY_EVENTS: Final = _gauge(
    "forwarder_replay_backlog_events",
    "Events and dead letters that a sink is still to be sent again.",
    "sink",
)

# ---------------------------------------------------------------------------------------- store

STORE_BYTES: Final = _gauge("forwarder_store_bytes", "What the store uses on its disk.")
STORE_LIMIT_BYTES: Final = _gauge(
    "forwarder_store_limit_bytes",
    "What the store may use: its capacity, or what its disk has; at 90 % reading pauses.",
)
STORE_AWAY: Final = _gauge(
    "forwarder_store_unreachable", "1 while the store is away: the rest is what it said last."
)
REPLICAS: Final = _gauge("forwarder_replicas", "Replicas that run on a shared store.")
UNKNOWN_EVENTS: Final = _gauge(
    "forwarder_unknown_events", "Stored events of Soteri's that no kind of the catalogue fits."
)
EVENTS_FORGOTTEN: Final = _counter(
    "forwarder_events_forgotten",
    "Delivered events that the janitor removed after their retention, or early for want of room.",
)
LOSS_HORIZON: Final = _gauge(
    "forwarder_loss_horizon_seconds",
    "How long until something unread or undelivered is lost, if nothing moves until then.",
    "part",
    "cause",
)

# -------------------------------------------------------------------------------------- watches

CONDITIONS: Final = _gauge(
    "forwarder_conditions",
    "What the watches have found and what goes on, by the kind of its events.",
    "kind",
    "part",
)
LOOKS: Final = _counter(
    "forwarder_looks",
    "Looks of a watch at its source, by how they ended.",
    "source",
    "outcome",
)
CORRELATED: Final = _counter(
    "forwarder_events_correlated",
    "Events that correlations have made of others, by kind.",
    "kind",
)
COVERAGE: Final = _gauge(
    "forwarder_audit_coverage_level",
    "What Bitbucket records of an area: "
    + ", ".join(f"{rank} {level}" for level, rank in LEVELS.items())
    + ".",
    "source",
    "area",
)
EXCLUDED: Final = _gauge(
    "forwarder_audit_excluded_actions", "Actions that Bitbucket does not record.", "source"
)
TOKEN_EXPIRY: Final = _gauge(
    "forwarder_token_expiry_timestamp_seconds",
    "When the token of a source expires, where Bitbucket says so.",
    "source",
)
CLOCK_AHEAD: Final = _gauge(
    "forwarder_clock_ahead_seconds",
    "By how much the source's clock is ahead of ours; negative where it is behind.",
    "source",
)
HEARTBEAT: Final = _gauge(
    "forwarder_heartbeat_timestamp_seconds", "When the last heartbeat was put into the outbox."
)

_OF_THE_STATUS: Final = (
    STATE,
    PAUSED,
    WAITING,
    FAILURES,
    POLLED,
    NEXT_POLL,
    WINDOW_SECONDS,
    STORED_AT,
    LATE_BY,
    MARK_SECONDS,
    SENT_AT,
    NEXT_TRY,
    BACKLOG_EVENTS,
    LAG_SECONDS,
    UNACKNOWLEDGED,
    DEAD_LETTERS,
    REPLAY_EVENTS,
    LOSS_HORIZON,
    CONDITIONS,
    COVERAGE,
    EXCLUDED,
    TOKEN_EXPIRY,
    CLOCK_AHEAD,
)


def publish(status: Status) -> None:
    """Have the gauges say what `status` says: what is over, or no longer configured, is gone."""
    for gauge in _OF_THE_STATUS:
        gauge.clear()
    STORE_BYTES.set(status.store_bytes)
    limit = status.store_limit_bytes
    STORE_LIMIT_BYTES.set(inf if limit is None else limit)
    STORE_AWAY.set(bool(status.store_error))
    REPLICAS.set(len(status.replicas))
    UNKNOWN_EVENTS.set(status.unknown_events)
    if status.heartbeat_at:
        HEARTBEAT.set(status.heartbeat_at.timestamp())
    DEAD_LETTERS.labels("").set(status.unreadable_records)
    EVENTS_LATE.set({source.name: source.late_events for source in status.sources})
    for source in status.sources:
        _publish_state("source", source)
        _publish_source(source)
    for sink in status.sinks:
        _publish_state("sink", sink)
        DEAD_LETTERS.labels(sink.name).set(sink.dead_letters)
        REPLAY_EVENTS.labels(sink.name).set(sink.replay_left)
        BACKLOG_EVENTS.labels(sink.name).set(sink.backlog_events)
        LAG_SECONDS.labels(sink.name).set(sink.lag_seconds)
        if sink.sent_at:
            SENT_AT.labels(sink.name).set(sink.sent_at.timestamp())
        if sink.next_try_at:
            NEXT_TRY.labels(sink.name).set(sink.next_try_at.timestamp())
        if sink.unacknowledged is not None:
            UNACKNOWLEDGED.labels(sink.name).set(sink.unacknowledged)
    for horizon in status.loss_horizons:
        LOSS_HORIZON.labels(horizon.part, horizon.cause).set(horizon.seconds)
    for condition in status.conditions:
        CONDITIONS.labels(condition.kind, condition.part).inc()


def _publish_state(component: Literal["source", "sink"], part: SourceStatus | SinkStatus) -> None:
    for state in STATES:
        STATE.labels(component, part.name, state).set(part.state == state)
    PAUSED.labels(component, part.name).set(part.state == "paused")
    WAITING.labels(component, part.name).set(part.state == "waiting")
    FAILURES.labels(component, part.name).set(part.failures)


def _publish_source(source: SourceStatus) -> None:
    for gauge, at in (
        (MARK_SECONDS, source.mark),
        (POLLED, source.polled_at),
        (NEXT_POLL, source.next_poll_at),
        (STORED_AT, source.stored_at),
    ):
        if at:
            gauge.labels(source.name).set(at.timestamp())
    if source.window_start and source.window_end:
        seconds = (source.window_end - source.window_start).total_seconds()
        WINDOW_SECONDS.labels(source.name).set(seconds)
    if source.late_events:
        LATE_BY.labels(source.name).set(source.late_by_seconds)
    if source.audit:
        _publish_audit(source.name, source.audit)


def _publish_audit(source: str, seen: AuditSettings) -> None:
    for area, level in (seen.coverage or {}).items():
        if level in LEVELS:
            COVERAGE.labels(source, area).set(LEVELS[level])
    if seen.excluded_actions is not None:
        EXCLUDED.labels(source).set(len(seen.excluded_actions))
    if seen.clock_ahead_seconds is not None:
        CLOCK_AHEAD.labels(source).set(seen.clock_ahead_seconds)
    if seen.token_expires_at:
        TOKEN_EXPIRY.labels(source).set(seen.token_expires_at.timestamp())
