"""Logging set-up."""

import logging
import sys
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from pydantic import Field
from structlog.typing import Processor

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
