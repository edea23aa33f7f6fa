"""CloudWatch Logs joins the Sink contract: the strict check in front of a real moto."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from forwarder.formats.json import JsonFormat
from forwarder.interfaces import Memory, Sink
from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig
from tests.fakes.events import BEGINNING
from tests.receivers.cloudwatch import REGION, UNAVAILABLE, CloudWatch, cloudwatch

LEVERS = frozenset({"break_down", "lock_out", "refuse"})

GROUP = "/soteri/audit"


class CloudWatchDestination:
    def __init__(self, receiver: CloudWatch) -> None:
        self._receiver = receiver

    def open(self, memory: Memory) -> AbstractAsyncContextManager[Sink]:
        config = CloudWatchLogsConfig(
            type="cloudwatch_logs",
            log_group=GROUP,
            region=REGION,
            endpoint_url=self._receiver.url,
        )
        return config.open(name="cloudwatch", format=JsonFormat(), memory=memory)

    async def held(self, count: int) -> Sequence[str]:
        if not self._receiver.counted("CreateLogStream"):
            return []
        held = self._receiver.held(GROUP)
        return [msgspec.json.decode(each.message)["event_id"] for each in held]

    async def break_down(self) -> None:
        self._receiver.fault = UNAVAILABLE

    async def lock_out(self) -> None:
        self._receiver.denied.add("PutLogEvents")

    async def recover(self) -> None:
        self._receiver.fault = None
        self._receiver.denied.clear()

    async def refuse(self, event_id: str) -> None:
        self._receiver.refused.add(event_id)


@asynccontextmanager
async def destination(tmp_path: Path) -> AsyncIterator[CloudWatchDestination]:
    with pytest.MonkeyPatch.context() as patch, cloudwatch() as receiver:
        alone(patch, tmp_path)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDFORWARDER")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "the secret")
        receiver.ahead = BEGINNING + timedelta(minutes=1) - datetime.now(UTC)
        yield CloudWatchDestination(receiver)


def alone(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Show boto3's chain nothing of this machine."""
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    patch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("PROFILE", "DEFAULT_PROFILE", "REGION", "DEFAULT_REGION", "SESSION_TOKEN"):
        patch.delenv(f"AWS_{name}", raising=False)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ENDPOINT_URL", "ENDPOINT_URL_LOGS"):
        patch.delenv(f"AWS_{name}", raising=False)
