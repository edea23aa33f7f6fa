"""docs/alerts.md: every command in it is one that there is."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from forwarder.cli import app
from forwarder.normalizers.catalogue import shipped

PAGE = (Path(__file__).parent.parent.parent / "docs" / "alerts.md").read_text("utf-8")


def commands() -> list[str]:
    """Return each line that begins `soteri-forwarder`, in a block or between backquotes."""
    joined = PAGE.replace("\\\n", " ")
    blocks = re.findall(r"^\$ (soteri-forwarder .*)$", joined, re.MULTILINE)
    inline = re.findall(r"`(soteri-forwarder [^`]+)`", joined)
    return sorted({" ".join(each.split()) for each in (*blocks, *inline)})


def parsed(words: list[str]) -> dict[str, Any]:
    """Return the parameters that the real command line makes of `words`; raises where none."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("soteri-forwarder", words)
    while getattr(command, "commands", None):
        name, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)
    return dict(context.params)


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_page_is_one(command: str) -> None:
    given = parsed(shlex.split(command)[1:])
    if command.split()[1] == "test-alert":
        assert given["kind"] in shipped()
    assert given.get("sink") in {None, "splunk", "cloudwatch", ()}


def test_the_page_has_commands_and_a_stranger_is_found_out() -> None:
    verbs = {command.split()[1] for command in commands()}
    assert verbs >= {"check", "provision", "test-alert", "detections", "config"}
    with pytest.raises(Exception, match="No such"):
        parsed(["provision", "splunk", "--emial", "x"])
    with pytest.raises(Exception, match="No such"):
        parsed(["provision", "splunck"])
