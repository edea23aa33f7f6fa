"""The tables and the steps that lead to them."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool

from forwarder.errors import StoreError
from forwarder.store.schema import STEPS, TABLES, migrate, version

NEXT = (*STEPS, ("create table later (a {bigint})", "update places set forgotten = 7"))


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)

    @event.listens_for(engine, "connect")
    def manual(raw: object, _record: object) -> None:
        raw.isolation_level = None  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("begin immediate")

    with engine.connect() as opened:
        yield opened
    engine.dispose()


def test_the_steps_lead_to_the_tables_that_the_queries_are_built_from(
    connection: Connection,
) -> None:
    migrate(connection)
    found = inspect(connection)
    assert set(found.get_table_names()) - {"sqlite_sequence"} == set(TABLES.tables)
    for name, table in TABLES.tables.items():
        columns = {column["name"]: column for column in found.get_columns(name)}
        assert list(columns) == [column.name for column in table.columns]
        assert {n: c["nullable"] for n, c in columns.items()} == {
            column.name: column.nullable for column in table.columns
        }
        key = found.get_pk_constraint(name)["constrained_columns"]
        assert key == [column.name for column in table.primary_key]


def test_a_second_migration_has_nothing_to_do(connection: Connection) -> None:
    assert migrate(connection) == len(STEPS)
    assert migrate(connection) == 0


def test_only_the_missing_steps_are_taken(connection: Connection) -> None:
    migrate(connection)
    assert migrate(connection, NEXT) == 1
    assert version(connection) == len(NEXT)
    assert connection.execute(text("select forgotten from places")).scalar_one() == 7


def test_a_step_that_fails_leaves_the_version_before_it(connection: Connection) -> None:
    migrate(connection)
    connection.commit()
    broken = (*STEPS, ("create table later (a {bigint})", "insert into nowhere values (1)"))
    with pytest.raises(OperationalError):
        migrate(connection, broken)
    connection.rollback()
    assert version(connection) == len(STEPS)
    assert "later" not in inspect(connection).get_table_names()


def test_tables_of_a_later_release_are_refused(connection: Connection) -> None:
    migrate(connection, NEXT)
    with pytest.raises(StoreError, match="later release") as caught:
        migrate(connection)
    assert "restore the backup" in caught.value.remedy


def test_tables_of_another_program_are_refused_and_left_alone(connection: Connection) -> None:
    connection.execute(text("create table bookmarks (a integer)"))
    with pytest.raises(StoreError, match=r"another program's database: .*bookmarks"):
        migrate(connection)
    assert inspect(connection).get_table_names() == ["bookmarks"]
