"""A real rsyslogd over RELP with TLS and client certificates, as a destination."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.contract.destination import Destination, Lever
from tests.contract.sinks.syslog import running

LEVERS: set[Lever] = {"break_down", "lock_out"}


@asynccontextmanager
async def destination(tmp_path: Path) -> AsyncIterator[Destination]:
    async with running(tmp_path, via="relp+tls") as opened:
        yield opened
