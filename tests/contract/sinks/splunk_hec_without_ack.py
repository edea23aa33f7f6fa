"""Splunk HEC, trusting what it says that it received."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.contract.sinks.splunk_hec import HecDestination

LEVERS = frozenset({"break_down", "lock_out", "refuse"})


@asynccontextmanager
async def destination(tmp_path: Path) -> AsyncIterator[HecDestination]:
    yield HecDestination(ack=False)
