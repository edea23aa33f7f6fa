"""What each method of the outbox does inside its one transaction, in SQLAlchemy Core.

Plain functions of a connection; times are epoch milliseconds. Statements that run often are built
once: building one costs more than running it.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, insert, update


def put(
    connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Update the row that has `key`, or insert it."""
    which = [table.c[name] == value for name, value in key.items()]
    if connection.execute(update(table).where(*which).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**key, **values))
