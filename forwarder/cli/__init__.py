"""One verb, one file; this is the catalogue."""

import inspect
import re
import sys
from typing import Annotated

import typer

from forwarder import __version__
from forwarder.cli import config, dead_letters, formats, provision
from forwarder.cli.check import check
from forwarder.cli.demo import demo
from forwarder.cli.detections import detections
from forwarder.cli.events import events
from forwarder.cli.explain import explain
from forwarder.cli.export import export
from forwarder.cli.health import health
from forwarder.cli.kinds import kinds
from forwarder.cli.man import man
from forwarder.cli.metrics import metrics
from forwarder.cli.move_store import move_store
from forwarder.cli.provision_cloudwatch import cloudwatch
from forwarder.cli.provision_splunk import splunk
from forwarder.cli.reconcile import reconcile
from forwarder.cli.replay import replay
from forwarder.cli.run import run
from forwarder.cli.simulate import simulate
from forwarder.cli.status import status
from forwarder.cli.test_alert import send_test
from forwarder.cli.verify import verify

_IS_TERMINAL = sys.stdout.isatty() and sys.stderr.isatty()
app = typer.Typer(
    name="soteri-forwarder",
    help="Forwards Soteri's audit events from Bitbucket Data Center, losing none.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Panels and colours are for people: a pipe gets plain text, sooner.
    rich_markup_mode="markdown" if _IS_TERMINAL else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS = (
    run, check, status, health, events, explain, verify, reconcile, export, replay, simulate, demo,
    kinds, detections, metrics, move_store, man,
)  # fmt: skip
for verb in VERBS:
    app.command(verb.__name__.replace("_", "-"))(verb)
app.command("test-alert")(send_test)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(config.app, name="config")
app.add_typer(formats.app, name="formats")
provision.app.command("splunk")(splunk)
provision.app.command("cloudwatch")(cloudwatch)
app.add_typer(provision.app, name="provision")


def _unwrapped(said: str) -> str:
    """Return a verb's help with its examples as they are to be copied, whatever the width.

    A line with a backspace alone in front of a paragraph has it left as it is (click's formatting).
    """
    return re.sub("(?m)^(?=  soteri-forwarder )", "  \b\n", inspect.cleandoc(said))


if not _IS_TERMINAL:
    for group in (app, dead_letters.app, config.app, formats.app, provision.app):
        for command in group.registered_commands:
            command.help = _unwrapped(getattr(command.callback, "__doc__", None) or "")


def _version(wanted: bool) -> None:  # noqa: FBT001  typer's signature
    if wanted:
        typer.echo(f"soteri-forwarder {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Forward Soteri's audit events from Bitbucket Data Center, losing none."""
