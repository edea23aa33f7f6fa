"""A SIEM that runs for real: SQLite, over the lines that a sink would send.

A field of a list of objects has several values at once. Here each combination of them is a row of
its own with the same event id, so that a comparison holds where it does for any of the values, as
in Splunk and Elasticsearch; correlations count event ids, not rows.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Schema:
    """Where a format's lines hold what rules look at: a column's name, and its path in the line.

    `lists` are the paths of the lists; a column ``objects.name`` of the list ``objects`` is read
    from each of its items.
    """

    columns: tuple[str, ...]
    lists: tuple[str, ...]
    time: str
    event_id: str


JSON: Final = Schema(
    columns=(
        "event_id", "time", "kind", "action", "actor.name",
        "objects.name", "changes.to", "attributes.value",
    ),
    lists=("objects", "changes", "attributes"),
    time="time",
    event_id="event_id",
)  # fmt: skip
_AUDIT: Final = "bitbucket.audit"
ECS: Final = Schema(
    columns=(
        "event.id", "@timestamp", "event.action", f"{_AUDIT}.type.action", "user.name",
        f"{_AUDIT}.affected_objects.name", f"{_AUDIT}.changed_values.to",
        f"{_AUDIT}.extra_attributes.value",
    ),
    lists=(
        f"{_AUDIT}.affected_objects", f"{_AUDIT}.changed_values", f"{_AUDIT}.extra_attributes",
    ),
    time="@timestamp",
    event_id="event.id",
)  # fmt: skip
AUDIT_LOG: Final = Schema(
    columns=("at", "auditType.category", "auditType.action", "author.name"),
    lists=(),
    time="at",
    event_id="rowid",
)


@contextmanager
def table(lines: Iterable[bytes], schema: Schema) -> Iterator[sqlite3.Connection]:
    """Yield a database whose table ``logs`` holds `lines`."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE lines (line TEXT)")
        told = [(line.decode(),) for line in lines]
        database.executemany("INSERT INTO lines VALUES (?)", told)
        database.execute(_table(schema))
        yield database


def _table(schema: Schema) -> str:
    joins = "".join(
        f" LEFT JOIN json_each(line, '{_path(path)}') AS list{n}"
        for n, path in enumerate(schema.lists)
    )
    columns = ", ".join(f"{_column(name, schema.lists)} AS `{name}`" for name in schema.columns)
    return f"CREATE TABLE logs AS SELECT {columns} FROM lines{joins}"


def _column(name: str, lists: tuple[str, ...]) -> str:
    for n, path in enumerate(lists):
        if name.startswith(f"{path}."):
            return f"json_extract(list{n}.value, '{_path(name.removeprefix(f'{path}.'))}')"
    if name == "at":  # the audit log file counts seconds
        return "datetime(json_extract(line, '$.timestamp.epochSecond'), 'unixepoch')"
    return f"json_extract(line, '{_path(name)}')"


def _path(name: str) -> str:
    return "$" + "".join(f'."{part}"' for part in name.split("."))
