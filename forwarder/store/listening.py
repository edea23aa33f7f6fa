"""What other replicas announce is heard at once."""

from collections.abc import Mapping
from typing import Final

import anyio
import psycopg
import structlog

from forwarder.store.bell import Bell
from forwarder.store.postgresql import CHANNEL, Server

_PAUSE: Final = 1.0  # seconds until a lost connection is tried again; whoever waits looks meanwhile

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


async def listen(server: Server, bells: Mapping[str, Bell]) -> None:
    """Ring the bell that an announcement names, until cancelled; never raises for a lost server."""
    while True:
        try:
            await _listen_once(server, bells)
        except psycopg.Error as error:
            log.debug("listening.interrupted", error=str(error))
        await anyio.sleep(_PAUSE)


async def _listen_once(server: Server, bells: Mapping[str, Bell]) -> None:
    # The driver leaves a half-open connection to the collector, and warns of a wait of its own that
    # is cancelled: so neither is.
    with anyio.CancelScope(shield=True):
        connection = await psycopg.AsyncConnection.connect(**server.settings(), autocommit=True)
    try:
        with anyio.CancelScope(shield=True):
            await connection.execute(f"listen {CHANNEL}")
        for bell in bells.values():  # something may have been missed
            bell.ring()
        while True:
            await anyio.wait_readable(connection.fileno())
            connection.pgconn.consume_input()
            while notice := connection.pgconn.notifies():
                heard = bells.get(notice.extra.decode())
                if heard:
                    heard.ring()
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()
