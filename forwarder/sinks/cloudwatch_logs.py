"""The sink `cloudwatch_logs`."""

from typing import Literal

from forwarder.options import SinkOptions


class CloudWatchLogsConfig(SinkOptions):
    """``[sinks.NAME]`` with ``type = "cloudwatch_logs"``."""

    type: Literal["cloudwatch_logs"]
