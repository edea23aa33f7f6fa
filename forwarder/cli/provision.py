"""`provision splunk|cloudwatch`: what alerts people, made at the destination."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from forwarder.cli.terminal import err, out, shown

if TYPE_CHECKING:
    from forwarder.provision.plan import Step

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

app = typer.Typer(
    help="Make what alerts people at a destination: a plan first, then only what differs.",
    no_args_is_help=True,
)


def settle(steps: Sequence[Step], *, dry_run: bool, yes: bool) -> bool:
    """Show the plan, ask unless `yes`, and carry it out; return whether it was.

    Raises:
        typer.Abort: the answer was no.
        typer.BadParameter: there is nobody to ask.
        ForwarderError: a step failed; those before it are done.
    """
    from forwarder.provision.plan import carry_out, lines, pending, summary

    for line in lines(steps):
        out.print(shown(line))
    out.print(summary(steps))
    to_do = pending(steps)
    if dry_run:
        out.print("nothing was changed")
        return False
    if not to_do:
        return True
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody is here to ask: add --yes", param_hint="--yes")
        typer.confirm("Carry it out?", abort=True, err=True)
    count = 0

    def done(step: Step) -> None:
        nonlocal count
        count += 1
        err.print(f"{step.verb}d {shown(step.what)}")

    try:
        carry_out(to_do, done=done)
    finally:
        out.print(f"{count} of {len(to_do)} done")
    return True
