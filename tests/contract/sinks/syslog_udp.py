"""A real rsyslogd over UDP, as a destination: no lever, because UDP reports next to nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.contract.destination import Destination, Lever
from tests.contract.sinks.syslog import running

LEVERS: set[Lever] = set()


@asynccontextmanager
async def destination(tmp_path: Path) -> AsyncIterator[Destination]:
    async with running(tmp_path, via="udp") as opened:
        yield opened
