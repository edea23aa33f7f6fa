"""The sink `syslog`."""

from typing import Literal

from forwarder.options import SinkOptions


class SyslogConfig(SinkOptions):
    """``[sinks.NAME]`` with ``type = "syslog"``."""

    type: Literal["syslog"]
