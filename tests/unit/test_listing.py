"""The table of events as people read it."""

import pytest
from msgspec.structs import replace

from forwarder.cli.listing import TableListing
from forwarder.model import Actor
from tests.fakes.events import event


def test_a_long_kind_pushes_what_is_beside_it_and_not_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = TableListing()
    for kind in ("hook.skipped", "config.repository_changed"):
        table.add(replace(event(1), kind=kind, action="told", actor=Actor(name="alice")))
    heading, *rows = capsys.readouterr().out.splitlines()
    assert [row.index("told") for row in rows] == [heading.index("ACTION")] * 2
    assert "config.repository_changed  alice" in rows[1]
