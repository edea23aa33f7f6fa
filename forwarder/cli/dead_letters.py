"""`dead-letters`: what was given up on, to be looked at, sent again or discarded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, get_args

import anyio
import typer

from forwarder.cli import completion
from forwarder.cli.events import Format, Since
from forwarder.cli.letters import summary, write_list, write_whole
from forwarder.cli.replay import known_sink, said_later
from forwarder.cli.terminal import (
    INCOMPLETE,
    ConfigOption,
    err,
    loaded,
    out,
    parse_time,
    shown,
)
from forwarder.errors import Reason
from forwarder.span import many

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.model import DeadLetter

app = typer.Typer(no_args_is_help=True, help="What was given up on: list, show, replay, discard.")

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", show_default=False)]
SinkName = Annotated[
    str | None,
    typer.Option(
        "--sink",
        help="Of one sink; records have none: --reason unreadable.",
        autocompletion=completion.sinks,
    ),
]
ReasonName = Annotated[
    Reason | None, typer.Option("--reason", help=f"One of {', '.join(get_args(Reason))}.")
]
Every = Annotated[bool, typer.Option("--all", help="Every dead letter there is.")]


@app.callback()
def dead_letters() -> None:
    """What was given up on: list, show, replay, discard."""


@app.command("list")
def list_letters(
    config: ConfigOption = None,
    *,
    sink: SinkName = None,
    reason: ReasonName = None,
    since: Since = None,
    output: Format = None,
) -> None:
    """List dead letters, oldest first, without what they hold.

    Examples:

      soteri-forwarder dead-letters list --sink splunk --since 24h

      soteri-forwarder dead-letters list --reason unreadable --output csv > unreadable.csv
    """
    configuration = loaded(config)
    after = parse_time(since, "--since") if since else None
    letters = anyio.run(lambda: _found(configuration, sink=sink, reason=reason, since=after))
    write_list(letters, output)


@app.command("show")
def show_letter(
    letter_id: Annotated[int, typer.Argument(metavar="ID", help="As in the list.")],
    config: ConfigOption = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Show one dead letter whole: why, how often, since when, and the original.

    Examples:

      soteri-forwarder dead-letters show 7

      soteri-forwarder dead-letters show 7 --json | jq .original
    """
    configuration = loaded(config)
    letters = anyio.run(lambda: _found(configuration, ids=[letter_id]))
    if not letters:
        err.print(f'there is no dead letter {letter_id}; see "soteri-forwarder dead-letters list"')
        sys.exit(INCOMPLETE)
    (letter,) = letters
    write_whole(letter, json=json)


@app.command("replay")
def replay_letters(
    config: ConfigOption = None,
    ids: Ids = None,
    *,
    sink: SinkName = None,
    reason: ReasonName = None,
    every: Every = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
) -> None:
    """Try dead letters again, once what was wrong is mended; each goes when it is delivered.

    The daemon sends them between what is new, within seconds. One that is refused again stays,
    with its new reason. A record that could not be read is read again by this release and, if
    that works, stored as an event for every sink. Exits 1 where one still cannot be read, or
    nothing matches.

    Examples:

      soteri-forwarder dead-letters replay 7 8

      soteri-forwarder dead-letters replay --sink splunk --reason too_large --dry-run
    """
    configuration = loaded(config)
    _must_choose(configuration, ids, sink, reason, every=every)
    done = anyio.run(
        lambda: _replay(configuration, ids or (), sink=sink, reason=reason, dry_run=dry_run)
    )
    if not done:
        sys.exit(INCOMPLETE)


@app.command("discard")
def discard_letters(
    config: ConfigOption = None,
    ids: Ids = None,
    *,
    sink: SinkName = None,
    reason: ReasonName = None,
    every: Every = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Forget dead letters for good: their events never come to that sink.

    Says what that is, and asks.

    Examples:

      soteri-forwarder dead-letters discard 7 8

      soteri-forwarder dead-letters discard --sink cloudwatch --reason too_old --yes
    """
    configuration = loaded(config)
    _must_choose(configuration, ids, sink, reason, every=every)
    letters = anyio.run(lambda: _found(configuration, ids=ids or (), sink=sink, reason=reason))
    if not letters:
        err.print("no dead letter matches")
        sys.exit(INCOMPLETE)
    for line in summary(letters):
        out.print(line)
    if not yes:
        typer.confirm("Forget them for good?", abort=True, err=True)
    gone = anyio.run(_discard, configuration, [letter.id for letter in letters])
    out.print(f"{many(gone, 'dead letter is', 'dead letters are')} discarded")


def _must_choose(
    config: Config,
    ids: list[int] | None,
    sink: str | None,
    reason: Reason | None,
    *,
    every: bool,
) -> None:
    if sink is not None and not ids:
        known_sink(config, sink)
    if not (ids or sink or reason or every):
        raise typer.BadParameter("say which: ids, --sink, --reason or --all")


async def _found(
    config: Config,
    *,
    ids: Sequence[int] = (),
    sink: str | None = None,
    reason: Reason | None = None,
    since: datetime | None = None,
) -> list[DeadLetter]:
    async with config.store.open(lock=False) as outbox:
        found = outbox.dead_letters(sink=sink, reason=reason, since=since, ids=ids)
        # Many are not held whole: what goes to a sink again is taken from the store.
        return [
            replace(letter, body=b"") if letter.sink and len(ids) != 1 else letter
            async for letter in found
        ]


async def _replay(
    config: Config,
    ids: Sequence[int],
    *,
    sink: str | None,
    reason: Reason | None,
    dry_run: bool,
) -> bool:
    """Return whether something was done, and everything that was asked for."""
    letters = await _found(config, ids=ids, sink=sink, reason=reason)
    if not letters:
        err.print("no dead letter matches")
        return False
    if dry_run:
        for line in summary(letters):
            out.print(f"{line} would be tried again")
        return True
    from forwarder.app.letters import replay_letters

    async with config.store.open(lock=False, write=True) as outbox:
        done = await replay_letters(config, outbox, letters)
    if done.asked:
        out.print(f"{many(done.asked, 'dead letter is', 'dead letters are')} sent again")
    for line in done.read:
        out.print(shown(line))
    if done.asked or done.read:
        await said_later(config)
    for line in done.stay:
        err.print(shown(line))
    return not done.stay


async def _discard(config: Config, ids: list[int]) -> int:
    async with config.store.open(lock=False, write=True) as outbox:
        return await outbox.discard_letters(ids)
