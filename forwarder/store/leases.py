"""Leases on PostgreSQL, for replicas that share one database."""

import os
import secrets
import socket
from collections.abc import Collection, Sequence

from anyio import Event
from sqlalchemy import Connection

from forwarder.model import Lease, Replica, Shares
from forwarder.store.bell import Bell
from forwarder.store.database import Database
from forwarder.store.transactions import leases


class SqlLeases:
    """The leases of interfaces.py, as this process has them; `changed` rings when others' do."""

    def __init__(self, database: Database, changed: Bell, *, ttl: float) -> None:
        self.replica = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self.ttl = ttl
        self._milliseconds = round(ttl * 1000)
        self._database = database
        self._changed = changed

    async def renew(
        self, parts: Collection[str], held: Collection[Lease]
    ) -> tuple[Sequence[Lease], Shares]:
        """Live and hold `held` for another `ttl`; return what is still held, and who has what."""
        replica = Replica(self.replica, frozenset(parts))
        names = [lease.name for lease in held]

        def renewed(connection: Connection) -> tuple[list[Lease], Shares]:
            is_new, found, shares = leases.renew(connection, replica, names, self._milliseconds)
            if is_new:
                self._database.announce(connection, "leases")
            return found, shares

        found, shares = await self._database.write(renewed)
        return [lease for lease in found if lease in held], shares

    async def claim(self, names: Collection[str]) -> Sequence[Lease]:
        """Take those of `names` that nobody holds; return them."""
        wanted = sorted(names)
        return await self._database.write(
            lambda connection: leases.claim(connection, self.replica, wanted, self._milliseconds)
        )

    async def release(self, held: Collection[Lease]) -> None:
        """Let others take `held`, at once."""

        def released(connection: Connection) -> None:
            if leases.release(connection, held):
                self._database.announce(connection, "leases")

        await self._database.write(released)

    async def leave(self) -> None:
        """Live no longer: the others share all among them."""

        def left(connection: Connection) -> None:
            if leases.leave(connection, self.replica):
                self._database.announce(connection, "leases")

        await self._database.write(left)

    def change(self) -> Event:
        """Return what is set when another replica joins, leaves or releases something."""
        return self._changed.next
