"""Logging set-up and every metric's definition."""

import logging
import sys
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)
from pydantic import Field
from structlog.typing import Processor

from forwarder import __version__
from forwarder.options import Options

# Without local variables: a credential could be among them.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
LogLevel = Literal["debug", "info", "warning", "error"]


class LogConfig(Options):
    """``[log]``."""

    level: LogLevel = Field(default="info", description="The least grave lines that are written.")
    format: Literal["json", "console"] = Field(
        default="json", description="JSON lines for machines, or coloured text for people."
    )

    def apply(self, stream: TextIO | None = None) -> None:
        """Set structlog up for the whole process; lines go to `stream`, by default stderr.

        Records of the libraries' own loggers at warning or above take the same road.
        """
        target = stream or sys.stderr
        shared: list[Processor] = [
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ]
        renderers: list[Processor] = (
            [_TRACEBACKS, structlog.processors.JSONRenderer(_to_json)]
            if self.format == "json"
            else [
                structlog.dev.ConsoleRenderer(
                    colors=target.isatty(),
                    sort_keys=False,
                    exception_formatter=structlog.dev.plain_traceback,
                )
            ]
        )
        structlog.configure(
            processors=[*shared, *renderers],
            wrapper_class=structlog.make_filtering_bound_logger(self.level),
            logger_factory=structlog.WriteLoggerFactory(target),
            cache_logger_on_first_use=False,
        )
        taken_over = logging.StreamHandler(target)
        taken_over.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
            )
        )
        logging.basicConfig(level=logging.WARNING, handlers=[taken_over], force=True)


def _to_json(fields: Any, **_: Any) -> str:  # noqa: ANN401  structlog's signature
    return msgspec.json.encode(fields, enc_hook=str).decode()


disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY: Final = CollectorRegistry()
Outcome = Literal["ok", "transient", "access", "permanent", "held", "bug"]

BUILD: Final = Info("forwarder_build", "The version that runs.", registry=REGISTRY)
BUILD.info({"version": __version__})
EVENTS_STORED: Final = Counter(
    "forwarder_events_stored", "New events stored in the outbox.", ["source"], registry=REGISTRY
)
RECORDS_READ: Final = Counter(
    "forwarder_records_read",
    "Records that a source gave, those known already included.",
    ["source"],
    registry=REGISTRY,
)
RECORDS_UNREADABLE: Final = Counter(
    "forwarder_records_unreadable",
    "Records that no normalizer could read; they are dead letters.",
    ["source"],
    registry=REGISTRY,
)
POLLS: Final = Counter(
    "forwarder_polls", "Polls, by how they ended.", ["source", "outcome"], registry=REGISTRY
)
POLL_SECONDS: Final = Histogram(
    "forwarder_poll_seconds",
    "How long a poll took, storing included.",
    ["source"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=REGISTRY,
)
MARK_SECONDS: Final = Gauge(
    "forwarder_mark_timestamp_seconds",
    "The high-water mark: everything up to it was read and stored.",
    ["source"],
    registry=REGISTRY,
)
EVENTS_SENT: Final = Counter(
    "forwarder_events_sent", "Events that a sink has taken.", ["sink"], registry=REGISTRY
)
EVENTS_REPLAYED: Final = Counter(
    "forwarder_events_replayed",
    "Events and dead letters that a sink has taken again because somebody asked.",
    ["sink"],
    registry=REGISTRY,
)
EVENTS_FILTERED: Final = Counter(
    "forwarder_events_filtered",
    "Events that a sink does not want (its include and exclude).",
    ["sink"],
    registry=REGISTRY,
)
UNKNOWN_EVENTS: Final = Gauge(
    "forwarder_unknown_events",
    "Stored events of Soteri's that no kind of the catalogue fits.",
    registry=REGISTRY,
)
EVENTS_BURIED: Final = Counter(
    "forwarder_events_buried",
    "Events that a sink refuses for good; they are dead letters.",
    ["sink", "reason"],
    registry=REGISTRY,
)
SENDS: Final = Counter(
    "forwarder_sends", "Batches sent, by how it ended.", ["sink", "outcome"], registry=REGISTRY
)
SEND_SECONDS: Final = Histogram(
    "forwarder_send_seconds",
    "How long one batch took, up to its receipt.",
    ["sink"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=REGISTRY,
)
BACKLOG_EVENTS: Final = Gauge(
    "forwarder_backlog_events",
    "Stored events that a sink has not taken.",
    ["sink"],
    registry=REGISTRY,
)
LAG_SECONDS: Final = Gauge(
    "forwarder_lag_seconds",
    "Age of the oldest unsent event; 0 where none is.",
    ["sink"],
    registry=REGISTRY,
)
PAUSED: Final = Gauge(
    "forwarder_paused",
    "1 while a component is not let in and waits for a person.",
    ["component", "name"],
    registry=REGISTRY,
)
WAITING: Final = Gauge(
    "forwarder_waiting",
    "1 while a component waits for room in the store.",
    ["component", "name"],
    registry=REGISTRY,
)
STORE_BYTES: Final = Gauge(
    "forwarder_store_bytes", "What the store uses on its disk.", registry=REGISTRY
)
STORE_LIMIT_BYTES: Final = Gauge(
    "forwarder_store_limit_bytes",
    "What the store may use: its capacity, or what its disk has; at 90 % reading pauses.",
    registry=REGISTRY,
)
DEAD_LETTERS: Final = Gauge(
    "forwarder_dead_letters",
    'Dead letters that are kept; the sink "" is for records that no normalizer could read.',
    ["sink"],
    registry=REGISTRY,
)
REPLAY_EVENTS: Final = Gauge(
    "forwarder_replay_backlog_events",
    "Events and dead letters that a sink is still to be sent again.",
    ["sink"],
    registry=REGISTRY,
)
LOSS_HORIZON: Final = Gauge(
    "forwarder_loss_horizon_seconds",
    "How long until something unread or undelivered is lost, if nothing moves until then.",
    ["part", "cause"],
    registry=REGISTRY,
)
EVENTS_FORGOTTEN: Final = Counter(
    "forwarder_events_forgotten",
    "Delivered events that the janitor removed after their retention, or early for want of room.",
    registry=REGISTRY,
)
