"""The sink `cloudwatch_logs`: what users write, and how it is opened.

packing.py AWS's limits, stream.py the calls, failures.py what their errors mean.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

from anyio import to_thread
from pydantic import AfterValidator, Field

from forwarder.interfaces import Format, Memory
from forwarder.options import SinkOptions, Wait, as_written
from forwarder.sinks.cloudwatch_logs.packing import EVENT_OVERHEAD, MAX_BYTES
from forwarder.sinks.cloudwatch_logs.sink import CloudWatchLogsSink, Stale
from forwarder.sinks.cloudwatch_logs.stream import LogStream, Place

_FILE_VARIABLES: Final = (
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)
_AWS_FILES: Final = ("~/.aws/credentials", "~/.aws/config")

# PutRetentionPolicy's allowed values (AWS's API reference).
RetentionDays = Literal[
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
]  # fmt: skip


def _log_group(name: str) -> str:
    if name.startswith("aws/"):
        raise ValueError('a log group\'s name must not begin with "aws/": AWS keeps it for itself')
    return name


class CloudWatchLogsConfig(SinkOptions):
    """``[sinks.NAME]`` with ``type = "cloudwatch_logs"``.

    There is no field for a credential: boto3's chain finds it (environment, profile, IRSA, Pod
    Identity, ECS, instance role).
    """

    type: Literal["cloudwatch_logs"]
    log_group: Annotated[str, AfterValidator(_log_group)] = Field(
        min_length=1,
        max_length=512,
        pattern=r"^[.\-_/#A-Za-z0-9]+$",
        description="Name of the log group.",
        examples=["/soteri/audit"],
    )
    # The same name wherever it runs: a pod's host name would begin a stream at each restart, and
    # what watches one stream would lose it. Two forwarders on one stream do each other no harm:
    # AWS takes parallel puts, orders by time, and each event says its source and id.
    log_stream: str = Field(
        default="soteri-forwarder",
        min_length=1,
        max_length=512,
        pattern=r"^[^:*]+$",
        description="Name of the log stream in it.",
    )
    region: str | None = Field(
        default=None,
        min_length=1,
        description="AWS region; by default the profile's or AWS_REGION.",
        examples=["eu-central-1"],
    )
    endpoint_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#\s]+/?$",
        description="Another address of the API, such as a VPC endpoint's.",
    )
    profile: str | None = Field(
        default=None, min_length=1, description="Profile in AWS's own configuration files."
    )
    create: bool = Field(
        default=True, description="Create the log group and the log stream where they are missing."
    )
    retention_days: RetentionDays | None = Field(
        default=None,
        description="Retention of the log group if it is created here; by default it is kept for "
        "ever. An existing group's is never touched.",
    )
    # 256 KiB less the overhead: the limit until 2025, and still the one of some regions.
    max_message_bytes: int = Field(
        default=262_118,
        ge=1,
        le=MAX_BYTES - EVENT_OVERHEAD,
        description="A larger event becomes a dead letter, unsent. Most regions take 1048550.",
    )
    stale: Stale = Field(
        default="bury",
        description="What becomes of events over 14 days old, over 2 hours ahead or past the "
        "retention, which CloudWatch Logs refuses: dead letters, or sent again dated now, "
        "with their own time in the message.",
    )
    timeout: Wait = Field(
        default=as_written("30s"), gt=0, description="For CloudWatch Logs to answer, at most."
    )

    @property
    def age_limit(self) -> float | None:
        """Seconds after which an event is refused: 14 days, or the group's shorter retention.

        None where it is then sent dated now.
        """
        if self.stale == "restamp":
            return None
        return min(14, self.retention_days or 14) * 86_400.0

    @property
    def credential_files(self) -> tuple[Path, ...]:
        """Where boto3 finds credentials in files (its guide, "Configuration")."""
        found = [os.environ.get(name) for name in _FILE_VARIABLES]
        # As botocore does it: where nobody knows a home, `Path.expanduser` would raise.
        every = (*filter(None, found), *_AWS_FILES)
        return tuple(Path(os.path.expanduser(path)) for path in every)  # noqa: PTH111  for that

    @asynccontextmanager
    async def open(
        self,
        *,
        name: str,
        format: Format,  # noqa: A002  the word for it here
        memory: Memory,  # noqa: ARG002  there is nothing to remember
    ) -> AsyncIterator[CloudWatchLogsSink]:
        """Yield the sink; AWS is not asked before it is used, but for credentials.

        Raises:
            ConfigError: no region, no such profile, or an endpoint_url that is none.
        """
        stream = LogStream(
            Place(
                log_group=self.log_group,
                log_stream=self.log_stream,
                create=self.create,
                retention_days=self.retention_days,
                region=self.region,
                endpoint_url=self.endpoint_url,
                profile=self.profile,
                timeout=self.timeout,
            )
        )
        await to_thread.run_sync(partial(stream.connect, name=name), abandon_on_cancel=True)
        try:
            yield CloudWatchLogsSink(
                name=name,
                format=format,
                stream=stream,
                largest=self.max_message_bytes,
                stale=self.stale,
            )
        finally:
            stream.close()
