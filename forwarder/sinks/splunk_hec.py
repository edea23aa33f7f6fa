"""The sink `splunk_hec`."""

from typing import Literal

from forwarder.options import SinkOptions


class SplunkHecConfig(SinkOptions):
    """``[sinks.NAME]`` with ``type = "splunk_hec"``."""

    type: Literal["splunk_hec"]
