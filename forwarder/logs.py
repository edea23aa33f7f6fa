"""Logging: set up once, its level changed while it runs, and the names that tie lines together.

A page is named by the last place that it got in the outbox, a batch by its places: ``page.stored``
says ``page=p1500 places=1001-1500``, and every line about a batch that holds any of them says
``pages=[p1500] batch=1001-1300``, over restarts and in every replica. `grep p1500` is the way of a
page from its storing to each receipt.
"""

import json
import logging
import sys
from contextlib import suppress
from typing import Any, Final, Literal, TextIO, cast

import msgspec
import structlog
from pydantic import Field
from structlog.typing import EventDict, Processor, WrappedLogger

from forwarder.concealed import without_secrets
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
        target = cast("TextIO", _Lossy(stream or sys.stderr))
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
        renderers.append(_conceal)
        structlog.configure(
            processors=[*shared, *renderers],
            wrapper_class=structlog.make_filtering_bound_logger(self.level),
            logger_factory=structlog.WriteLoggerFactory(target),
            cache_logger_on_first_use=False,
        )
        _Configured.level = self.level
        taken_over = logging.StreamHandler(target)
        taken_over.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
            )
        )
        logging.basicConfig(level=logging.WARNING, handlers=[taken_over], force=True)


class _Lossy:
    """A stream that takes what it can: forwarding does not end where a log's disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.isatty = stream.isatty

    def write(self, text: str) -> None:
        """Write `text`, unless that is impossible."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Have everything written out that can be."""
        with suppress(OSError):
            self._stream.flush()


def _conceal(_: WrappedLogger, __: str, line: EventDict) -> str:
    """Take credentials out of a finished line: what a library says is in it too."""
    return without_secrets(str(line))


class _Configured:
    """The level of the configuration that was applied last."""

    level: LogLevel = "info"


def set_level(level: LogLevel | None) -> LogLevel:
    """Write lines from `level` on, from now on and in the whole process; None: as configured."""
    chosen = level or _Configured.level
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(chosen))
    return chosen


def page_named(last: int) -> str:
    """Return how the log names a page whose last event got the place `last`."""
    return f"p{last}"


def places_named(first: int, last: int) -> str:
    """Return how the log names places, and so a batch."""
    return f"{first}-{last}"


def _to_json(fields: Any, **_: Any) -> str:  # noqa: ANN401  structlog's signature
    try:
        return msgspec.json.encode(fields, enc_hook=str).decode()
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        return json.dumps(fields, default=str)
