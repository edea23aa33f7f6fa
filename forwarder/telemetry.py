"""Logging set-up and every metric's definition."""

from typing import Literal

from pydantic import Field

from forwarder.options import Options


class LogConfig(Options):
    """``[log]``."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info")
    format: Literal["json", "console"] = Field(default="json")
