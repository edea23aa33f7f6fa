"""One sink, one file. This is the catalogue."""

from typing import Annotated

from pydantic import Discriminator

from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig
from forwarder.sinks.file import FileConfig
from forwarder.sinks.splunk_hec import SplunkHecConfig
from forwarder.sinks.syslog import SyslogConfig

SinkConfig = Annotated[
    SplunkHecConfig | CloudWatchLogsConfig | SyslogConfig | FileConfig, Discriminator("type")
]
"""Every sink's config, told apart by its ``type``."""
