"""`formats`, as typed."""

import json

import pytest
from typer.testing import CliRunner

from forwarder.cli import app
from forwarder.formats import FORMATS
from forwarder.formats.json import schema


def run(*arguments: str):
    return CliRunner().invoke(app, ["formats", *arguments])


def test_every_format_is_listed():
    assert run("list").stdout.split() == list(FORMATS)


@pytest.mark.parametrize("arguments", [("schema",), ("schema", "json")])
def test_the_schema_of_our_own_format_is_printed(arguments):
    done = run(*arguments)
    assert (done.exit_code, json.loads(done.stdout)) == (0, schema())


def test_a_format_without_a_schema_of_ours_is_a_mistake():
    done = run("schema", "ecs")
    assert done.exit_code == 2
    assert "no schema of ours" in done.stderr
