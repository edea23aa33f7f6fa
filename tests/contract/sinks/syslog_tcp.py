"""A real rsyslogd over plain TCP, as a destination."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.contract.destination import Destination, Lever
from tests.contract.sinks.syslog import running

LEVERS: set[Lever] = {"break_down"}


@asynccontextmanager
async def destination(tmp_path: Path) -> AsyncIterator[Destination]:
    async with running(tmp_path, via="tcp") as opened:
        yield opened
