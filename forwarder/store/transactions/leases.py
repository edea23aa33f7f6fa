"""Which replica runs what. Only the server's clock counts; times are its epoch milliseconds.

A lease is a row whose token grows each time that it changes hands. A write under a lease holds the
row's key (``for key share``) until it commits: renewing passes beside it, claiming finds the row
locked. So what an older token writes is either stored before the lease changes hands, or refused.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, or_, select, text, update

from forwarder.errors import LeaseLost
from forwarder.model import Lease, Replica, Shares
from forwarder.store.schema import LEASES, REPLICAS

_NOW: Final = text("select (extract(epoch from clock_timestamp()) * 1000)::bigint")
_FENCE: Final = (
    select(LEASES.c.token)
    .where(LEASES.c.name == bindparam("name"), LEASES.c.token == bindparam("token"))
    .with_for_update(read=True, key_share=True)
)
_decode: Final = msgspec.json.Decoder(frozenset[str]).decode
_encode: Final = msgspec.json.Encoder().encode


def fence(connection: Connection, lease: Lease) -> None:
    """Return where `lease` holds, and keep it so until the transaction ends.

    Raises:
        LeaseLost: it has changed hands.
    """
    if connection.execute(_FENCE, {"name": lease.name, "token": lease.token}).first() is None:
        raise LeaseLost(f"another replica has taken {lease.name} over")


def renew(
    connection: Connection, replica: Replica, held: Collection[str], ttl: int
) -> tuple[bool, list[Lease], Shares]:
    """Say that the replica lives and holds `held` for another `ttl`.

    Returns whether that is news to others, what it really holds of `held`, and how all is shared.
    """
    now = _now(connection)
    connection.execute(delete(REPLICAS).where(REPLICAS.c.expires_at <= now))
    parts = _encode(sorted(replica.parts)).decode()
    values = {"parts": parts, "expires_at": now + ttl}
    is_ours = REPLICAS.c.replica == replica.name
    known = connection.execute(select(REPLICAS.c.parts).where(is_ours)).scalar()
    if known is None:
        connection.execute(insert(REPLICAS).values(replica=replica.name, since_at=now, **values))
    else:
        connection.execute(update(REPLICAS).where(is_ours).values(values))
    renewed = connection.execute(
        update(LEASES)
        .where(LEASES.c.holder == replica.name, LEASES.c.name.in_(held))
        .values(expires_at=now + ttl)
        .returning(LEASES.c.name, LEASES.c.token)
    )
    return known != parts, [Lease(*row) for row in renewed], _shares(connection, replica.name, now)


def shares(connection: Connection) -> Shares:
    """Return how all is shared now; nothing is where one process has the store alone."""
    if connection.dialect.name != "postgresql":
        return Shares((), {})
    return _shares(connection, "", _now(connection))


def _shares(connection: Connection, own: str, now: int) -> Shares:
    replicas = connection.execute(
        select(REPLICAS)
        .where(REPLICAS.c.expires_at > now)
        .order_by(REPLICAS.c.since_at, REPLICAS.c.replica)
    ).all()
    leases = connection.execute(select(LEASES).where(LEASES.c.expires_at > now)).all()
    ends = [row.expires_at for row in replicas if row.replica != own]
    ends += [row.expires_at for row in leases if row.holder != own]
    return Shares(
        replicas=tuple(Replica(row.replica, _decode(row.parts)) for row in replicas),
        holders={row.name: row.holder for row in leases},
        changes_in=(min(ends) - now) / 1000 if ends else None,
    )


def claim(connection: Connection, replica: str, names: Sequence[str], ttl: int) -> list[Lease]:
    """Take those of `names` that nobody holds, or that `replica` itself was last to hold."""
    # Late: it takes its time, and only who shares a store comes here.
    from sqlalchemy.dialects import postgresql

    rows = [{"name": name, "token": 0, "holder": "", "expires_at": 0} for name in sorted(names)]
    connection.execute(postgresql.insert(LEASES).on_conflict_do_nothing(), rows)
    now = _now(connection)
    free = connection.execute(
        select(LEASES.c.name)
        .where(LEASES.c.name.in_(names))
        .where(or_(LEASES.c.expires_at <= now, LEASES.c.holder == replica))
        .with_for_update(skip_locked=True)
    ).scalars()
    taken = connection.execute(
        update(LEASES)
        .where(LEASES.c.name.in_(list(free)))
        .values(token=LEASES.c.token + 1, holder=replica, expires_at=now + ttl)
        .returning(LEASES.c.name, LEASES.c.token)
    )
    return [Lease(*row) for row in taken]


def release(connection: Connection, leases: Collection[Lease]) -> int:
    """Let others take `leases`; return how many of them still held."""
    return sum(
        connection.execute(
            update(LEASES)
            .where(LEASES.c.name == lease.name, LEASES.c.token == lease.token)
            .values(holder="", expires_at=0)
        ).rowcount
        for lease in leases
    )


def leave(connection: Connection, replica: str) -> int:
    """Say that the replica has ended; return 1 where it was known."""
    return connection.execute(delete(REPLICAS).where(REPLICAS.c.replica == replica)).rowcount


def _now(connection: Connection) -> int:
    return int(connection.execute(_NOW).scalar_one())
