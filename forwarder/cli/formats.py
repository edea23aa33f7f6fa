"""`formats`: how an event is written for a destination."""

import json
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="How an event is written for a destination.")


@app.callback()
def formats() -> None:
    """How an event is written for a destination: what `format` of a sink may be."""


@app.command("list")
def list_formats() -> None:
    """Print the names of all formats, those of other packages included.

    Examples:

      soteri-forwarder formats list
    """
    from forwarder.formats import FORMATS
    from forwarder.options import extensions

    for name in (*FORMATS, *extensions("formats")):
        typer.echo(name)


@app.command("schema")
def print_schema(
    name: Annotated[str, typer.Argument(help="The format; only json has a schema of ours.")] = (
        "json"
    ),
) -> None:
    """Print the JSON schema of a line, for those who read what is sent.

    Examples:

      soteri-forwarder formats schema json > event.schema.json
    """
    from forwarder.formats.json import schema

    if name != "json":
        raise typer.BadParameter(f"{name} has no schema of ours; docs/formats.md says whose it is")
    typer.echo(json.dumps(schema(), indent=2))
