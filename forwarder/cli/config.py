"""`config`: what concerns the configuration file itself."""

import json

import typer

from forwarder.cli.config_init import init

app = typer.Typer(no_args_is_help=True, help="What concerns the configuration file itself.")


@app.callback()
def config() -> None:
    """What concerns the configuration file itself."""


app.command("init")(init)


@app.command("schema")
def print_schema() -> None:
    """Print the JSON schema of the configuration file, for editors.

    A file that begins with "#:schema ./soteri-forwarder.schema.json" is checked and completed
    while it is written, by editors that know TOML (Even Better TOML, taplo).

    Examples:

      soteri-forwarder config schema > soteri-forwarder.schema.json
    """
    from forwarder.config import schema

    typer.echo(json.dumps(schema(), indent=2))
