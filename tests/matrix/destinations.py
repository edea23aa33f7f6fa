"""The receivers of the matrix, each as strict as its protocol, and a sink opened on them."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from forwarder.formats import FORMATS
from forwarder.interfaces import Memory, Sink
from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig
from forwarder.sinks.file import FileConfig
from forwarder.sinks.file.rotation import parts
from forwarder.sinks.splunk_hec import SplunkHecConfig
from forwarder.sinks.syslog import SyslogConfig
from tests.matrix.world import Held, any_ca
from tests.receivers.cloudwatch import REGION, CloudWatch
from tests.receivers.hec import Hec
from tests.receivers.rfc5424 import parse

JSON = FORMATS["json"]
GROUP = "/soteri/audit"


def held(event: dict[str, Any], *, marked: bool = False) -> Held:
    return Held(event["event_id"], event["original"], marked)


class HecDestination:
    """A strict HEC; `transport` stands between it and the sink."""

    ordered = True

    def __init__(self, folder: Path, *, ack: bool, ack_timeout: str = "20s") -> None:
        self.hec = Hec(acking=ack)
        self.transport: httpx.AsyncBaseTransport = httpx.ASGITransport(self.hec.app)
        self._config = SplunkHecConfig.model_validate(
            {
                "type": "splunk_hec",
                "url": "http://splunk.test:8088",
                "token": self.hec.token,
                "index": "security",
                "ack": ack,
                "ack_timeout": ack_timeout,
                "tls": {"ca_file": any_ca(folder)},
            }
        )

    def open(self, memory: Memory) -> AbstractAsyncContextManager[Sink]:
        return self._config.open(name="sink", format=JSON, memory=memory, transport=self.transport)

    def held(self) -> list[Held]:
        self.hec.index()
        return [
            held(envelope["event"], marked="possible_duplicate" in envelope["fields"])
            for envelope in self.hec.indexed
        ]


class FileDestination:
    """A file; with `rotate` it is rotated before each batch but the first."""

    ordered = True

    def __init__(self, folder: Path, *, rotate: bool = False) -> None:
        self.path = folder / "audit.jsonl"
        self._config = FileConfig.model_validate(
            {
                "type": "file",
                "path": self.path,
                "rotate": {"size": "1KiB" if rotate else "1GiB", "compress": False},
            }
        )

    def open(self, memory: Memory) -> AbstractAsyncContextManager[Sink]:
        return self._config.open(name="sink", format=JSON, memory=memory)

    def held(self) -> list[Held]:
        files = [part for _, part in parts(self.path)]
        files += [self.path] if self.path.exists() else []
        lines = b"".join(each.read_bytes() for each in files).split(b"\n")
        assert lines.pop() == b"", "the last line is torn"
        return [held(json.loads(line)) for line in lines]


class CloudWatchDestination:
    """AWS's limits in front of a real moto."""

    def __init__(self, receiver: CloudWatch, *, stale: str = "bury", days: int | None = None):
        self.receiver = receiver
        self.ordered = True
        self._config = CloudWatchLogsConfig.model_validate(
            {
                "type": "cloudwatch_logs",
                "log_group": GROUP,
                "region": REGION,
                "endpoint_url": receiver.url,
                "stale": stale,
                "retention_days": days,
            }
        )
        self.sink: Any = None

    @asynccontextmanager
    async def open(self, memory: Memory) -> AsyncIterator[Sink]:
        async with self._config.open(name="sink", format=JSON, memory=memory) as self.sink:
            yield self.sink

    def held(self) -> list[Held]:
        if not self.receiver.counted("CreateLogStream"):
            return []
        return [held(json.loads(each.message)) for each in self.receiver.held(GROUP)]


class SyslogDestination:
    """Whoever listens on `address`; what its connections gave is put into `streams`."""

    ordered = True

    def __init__(self, address: str, **fields: object) -> None:
        self.streams: list[bytes] = []
        self._config = SyslogConfig.model_validate(
            {
                "type": "syslog",
                "address": address,
                "max_message_bytes": 1 << 20,
                "timeout": "20s",
                **fields,
            }
        )

    def open(self, memory: Memory) -> AbstractAsyncContextManager[Sink]:
        return self._config.open(name="sink", format=JSON, memory=memory)

    def held(self) -> list[Held]:
        return held_by([message for stream in self.streams for message in whole_frames(stream)])


def held_by(messages: list[bytes]) -> list[Held]:
    """Return the events of syslog messages."""
    return [held(json.loads(parse(message).message)) for message in messages]


def whole_frames(stream: bytes) -> list[bytes]:
    """Return the messages of an octet-counted stream; one that was cut short is not there."""
    found = []
    while stream:
        size, _, rest = stream.partition(b" ")
        if not size.isdigit() or len(rest) < int(size):
            break
        found.append(rest[: int(size)])
        stream = rest[int(size) :]
    return found


def keep_reading(connection: socket.socket, into: bytearray, most: int = 1 << 62) -> None:
    """Read up to `most` bytes, or to the other side's end."""
    while most and (data := connection.recv(min(most, 65536))):
        into += data
        most -= len(data)
