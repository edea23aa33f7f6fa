"""`test-alert`: one test event to one sink, to see the alert arrive."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from forwarder.cli import completion
from forwarder.cli.replay import SinkName, known_sink
from forwarder.cli.terminal import (
    INCOMPLETE,
    ConfigOption,
    err,
    loaded,
    out,
    say_json,
    seconds,
    shown,
)

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.model import Event
    from forwarder.normalizers.catalogue import Kind


def send_test(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help='What it is to be, as "soteri-forwarder kinds" lists them.',
            autocompletion=completion.kinds,
        ),
    ],
    config: ConfigOption = None,
    *,
    sink: SinkName,
    ignore_filter: Annotated[
        bool,
        typer.Option("--ignore-filter", help="Send it though the sink's filter passes it over."),
    ] = False,
    wait: Annotated[
        str, typer.Option("--wait", help="How long to wait until it is delivered.")
    ] = "60s",
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Send one test event to one sink, by the real way, to see the alert arrive.

    Its action begins with "TEST of soteri-forwarder", its actor is "soteri-forwarder test", and
    its attribute `test` is "true": everybody can see that nothing has happened. The daemon sends
    it, or this command where none runs. It goes to no other sink, is in no chain, and neither
    `reconcile` nor `verify` wonders about it. Where it cannot be delivered in time it is taken
    back, and what is in the way is said. Exits 0 once the destination has taken it.

    Examples:

      soteri-forwarder test-alert hook.skipped --sink splunk

      soteri-forwarder test-alert hook.mode_changed --sink cloudwatch --wait 2m
    """
    from forwarder.app.trial import deliver, synthetic
    from forwarder.logs import LogConfig

    configuration = loaded(config)
    known_sink(configuration, sink)
    within = seconds(wait, "--wait")
    event = synthetic(_kind(configuration, kind), datetime.now(UTC))
    if not ignore_filter:
        _must_pass(configuration, sink, event)
    LogConfig(level="error", format="console").apply()  # what becomes of it is said below
    began = monotonic()
    with err.status("sending"):
        outcome = anyio.run(lambda: deliver(configuration, sink, event, within=within))
    if json:
        say_json(outcome)
    elif outcome.delivered:
        out.print(
            f"{shown(kind)} is delivered to {shown(sink)}, {monotonic() - began:.1f} s: look for"
            f" event_id {outcome.event_id}"
        )
    else:
        err.print(f"[red]not delivered:[/] {shown(outcome.because)}")
        if outcome.remedy:
            err.print(f"  [bold]remedy:[/] {shown(outcome.remedy)}")
    if not outcome.delivered:
        sys.exit(INCOMPLETE)


def _kind(config: Config, name: str) -> Kind:
    from forwarder.config.problems import did_you_mean

    known = config.catalogue.kinds
    if name not in known:
        near = did_you_mean(name, known) or '; see "soteri-forwarder kinds"'
        raise typer.BadParameter(f'there is no kind "{name}"{near}', param_hint="KIND")
    return known[name]


def _must_pass(config: Config, sink: str, event: Event) -> None:
    if rule := config.sinks[sink].refusing(event):
        err.print(
            f"[red]not sent:[/] {rule} of {shown(sink)} passes this event over, as it would a real"
            " one; --ignore-filter sends it all the same"
        )
        sys.exit(INCOMPLETE)
