"""`provision splunk|cloudwatch`: what alerts people, made at the destination."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from forwarder.cli.terminal import err, out, shown

if TYPE_CHECKING:
    from forwarder.detections import Detection
    from forwarder.provision.plan import Step

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Emails = Annotated[
    list[str] | None, typer.Option("--email", help="Whom the alerts tell; may be repeated.")
]
Listed = Annotated[
    list[str] | None,
    typer.Option(
        "--list", metavar="LIST=NAME", help="Puts a name on a detection's list; repeatable."
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="DETECTION", help="Leave it out; may be repeated."),
]

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
        out.print("nothing to do")
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


def addresses(written: Sequence[str]) -> tuple[str, ...]:
    """Return the e-mail addresses, each once.

    Raises:
        typer.BadParameter: one is none.
    """
    for address in written:
        name, at, host = address.partition("@")
        if not (name and at and host) or set(address) & set(", ;\n"):
            raise typer.BadParameter(f'"{address}" is no e-mail address', param_hint="--email")
    return tuple(dict.fromkeys(written))


def chosen(listed: Sequence[str], without: Sequence[str]) -> tuple[Detection, ...]:
    """Return the detections but for those `without`, with the names that are `listed` in them.

    Raises:
        typer.BadParameter: there is no such detection or list, or too much is on one.
    """
    from forwarder.detections import detections, filled

    known = {each.name: each for each in detections()}
    if strange := [name for name in without if name not in known]:
        raise typer.BadParameter(
            f'"{strange[0]}" is none of {", ".join(known)}', param_hint="--without"
        )
    lists: dict[str, list[str]] = {name: [] for each in known.values() for name in each.lists}
    for each in listed:
        name, found, member = each.partition("=")
        if name not in lists or not found or not member:
            raise typer.BadParameter(
                f'"{each}": write LIST=NAME; lists are {", ".join(lists) or "none"}',
                param_hint="--list",
            )
        lists[name].append(member)
    try:
        return tuple(filled(known[name], lists) for name in known if name not in without)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--list") from error
