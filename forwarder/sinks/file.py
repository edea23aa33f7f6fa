"""The sink `file`."""

from typing import Literal

from forwarder.options import SinkOptions


class FileConfig(SinkOptions):
    """``[sinks.NAME]`` with ``type = "file"``."""

    type: Literal["file"]
