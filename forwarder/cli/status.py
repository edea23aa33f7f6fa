"""`status`: how it is, from the store alone, so that it answers whether or not a daemon runs."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from forwarder.cli.terminal import (
    INCOMPLETE,
    OK,
    ConfigOption,
    ago,
    err,
    loaded,
    out,
    say_json,
    seconds,
    show,
    shown,
    table,
)
from forwarder.span import many, span

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.interfaces import Outbox
    from forwarder.model import SinkStatus, SourceStatus, Status

_COLOURS: Final = {"running": "green", "retrying": "yellow", "waiting": "yellow", "paused": "red"}
_SOON: Final = 86_400.0
_CAUSES: Final = {
    "source_retention": "until the source itself removes what is not read yet",
    "sink_age": "until the oldest unsent event is older than the destination takes",
    "store_capacity": "until the store is full at the present rate, and reading pauses",
}


def status(
    config: ConfigOption = None,
    *,
    json: Annotated[
        bool, typer.Option("--json", help="For machines: one JSON object, each time.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it, until stopped with Ctrl-C.")
    ] = False,
    every: Annotated[str, typer.Option("--every", help="With --watch: how often.")] = "2s",
) -> None:
    """Show marks, backlogs, lags, last errors and dead letters.

    Exits 0 when all is well, 1 when a source or sink is in trouble or no daemon runs. With
    --watch a terminal shows it live, and a pipe gets block after block.

    Examples:

      soteri-forwarder status

      soteri-forwarder status --watch

      soteri-forwarder status --json | jq '.sinks[] | {name, backlog_events}'
    """
    pause = seconds(every, "--every")
    if pause < _SHORTEST:
        raise typer.BadParameter("is too often: 200ms at least", param_hint="--every")
    configuration = loaded(config)
    if watch:
        anyio.run(lambda: _watch(configuration, pause=pause, json=json))
        return
    found = anyio.run(_read, configuration)
    _print(found, json=json)
    sys.exit(OK if _is_well(found) else INCOMPLETE)


_SHORTEST: Final = 0.2


async def _read(config: Config) -> Status:
    async with config.store.open(lock=False) as outbox:
        return await _look(config, outbox)


async def _look(config: Config, outbox: Outbox) -> Status:
    from forwarder.app.overview import stored_status

    running = await config.store.in_use()
    found = await stored_status(config, outbox)
    return msgspec.structs.replace(
        found,
        running=running,
        sources=tuple(
            msgspec.structs.replace(each, **_now(each, running=running)) for each in found.sources
        ),
        sinks=tuple(
            msgspec.structs.replace(each, **_now(each, running=running)) for each in found.sinks
        ),
    )


def _now(part: SourceStatus | SinkStatus, *, running: bool) -> dict[str, Any]:
    """Return the state that holds now: stored is how the last step ended, if there was one yet."""
    if not running:
        return {"state": "stopped", "since_at": None}
    return {"state": "starting"} if part.state == "stopped" else {}


async def _watch(config: Config, *, pause: float, json: bool) -> None:
    async with config.store.open(lock=False) as outbox:
        if json or not out.is_terminal:
            while True:
                _print(await _look(config, outbox), json=json)
                await anyio.sleep(pause)
        with Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
            while True:
                found = await _look(config, outbox)
                footer = Text(f"each {span(pause)}; Ctrl-C ends it", style="dim")
                blocks = [*_blocks(found), *map(Text.from_markup, _troubles(found)), footer]
                live.update(Group(*blocks), refresh=True)
                await anyio.sleep(pause)


def _print(found: Status, *, json: bool) -> None:
    """Write it once: what is in trouble goes to stderr."""
    if json:
        say_json(found)
        sys.stdout.buffer.flush()
        return
    for block in _blocks(found):
        show(block)
    sys.stdout.flush()
    for line in _troubles(found):
        err.print(line)


def _is_well(found: Status) -> bool:
    return found.running and all(part.state == "running" for part in _parts(found))


def _blocks(found: Status) -> Iterator[RenderableType]:
    word = "[green]running[/]" if found.running else "[red]not running[/]"
    if count := len(found.replicas):
        word += f" on {many(count, 'replica')}"
    limit = "" if (most := found.store_limit_bytes) is None else f" of {most / 1e6:,.0f}"
    size = f"{found.store_bytes / 1e6:,.1f}{limit} MB"
    at = f"{found.at:%Y-%m-%d %H:%M:%S}Z"
    yield Text.from_markup(f"soteri-forwarder {found.version}, {word}, store {size}, {at}")
    now = datetime.now(UTC)
    sources = table("source", "state", "mark", "stored", "last event stored")
    for source in found.sources:
        at = f"{source.mark:%Y-%m-%d %H:%M:%S}Z" if source.mark else "none yet"
        sources.add_row(
            _name(source.name),
            _state(source.state),
            f"{at} ({ago(source.mark, now=now)})" if source.mark else at,
            f"{source.events_stored:,}",
            ago(source.stored_at, now=now),
        )
    yield _with_whole_names(sources)
    sinks = table(
        "sink", "state", "backlog", "lag", "sent", "left out", "dead letters", "last sent"
    )
    for sink in found.sinks:
        sinks.add_row(
            _name(sink.name),
            _state(sink.state),
            f"{sink.backlog_events:,}",
            span(sink.lag_seconds) if sink.backlog_events else "none",
            f"{sink.events_sent:,}",
            f"{sink.events_filtered:,}",
            f"[red]{sink.dead_letters:,}[/]" if sink.dead_letters else "0",
            ago(sink.sent_at if sink.events_sent else None, now=now),
        )
    yield _with_whole_names(sinks)
    yield from map(Text.from_markup, _beside(found))


def _with_whole_names(rows: Table) -> Table:
    """Keep names and states in one piece on a narrow terminal."""
    for column in rows.columns[:2]:
        column.no_wrap = True
    return rows


def _beside(found: Status) -> Iterator[str]:
    """Yield what is only there at times: replays, horizons, what fits no kind."""
    for sink in found.sinks:
        if sink.replay_left:
            done = sink.replay_events - sink.replay_left
            yield f"{sink.name}: {done:,} of {many(sink.replay_events, 'event')} sent again"
    for horizon in found.loss_horizons:
        left = span(horizon.seconds) if horizon.seconds > 0 else "none"
        colour = "red" if horizon.seconds < _SOON else "dim"
        yield f"[{colour}]loss horizon {left}[/]: {_CAUSES[horizon.cause]} ({horizon.part})"
    for source in found.sources:
        if source.audit and source.audit.not_allowed:
            asked = ", ".join(source.audit.not_allowed).replace("_", " ")
            yield f"[dim]{source.name}: not allowed to ask for {asked}, so that is not watched[/]"
    if found.unknown_events:
        yield (
            f"[yellow]{many(found.unknown_events, 'event')}[/] of Soteri's without a known kind: "
            'see "soteri-forwarder events --kind soteri.unknown"'
        )


def _troubles(found: Status) -> Iterator[str]:
    """Yield what is wrong and what to do about it."""
    now = datetime.now(UTC)
    if not found.running:
        yield "[red]no daemon[/] runs on this store, so nothing is read or sent"
        yield "  [bold]remedy:[/] soteri-forwarder run, or systemctl start soteri-forwarder"
    for part in _parts(found):
        if part.error:
            lasting = f" for {span((now - part.since_at).total_seconds())}" if part.since_at else ""
            yield f"[red]{part.name}[/] {part.state}{lasting}: {shown(part.error)}"
        if part.remedy:
            yield f"  [bold]remedy:[/] {shown(part.remedy)}"
    for condition in found.conditions:
        named = f"{shown(condition.part)}, began {ago(condition.since_at, now=now)}"
        yield f"[yellow]{condition.kind}[/] ({named}): {shown(condition.detail)}"
    if found.unreadable_records:
        yield f"[red]{many(found.unreadable_records, 'record')}[/] could not be read: dead letters"


def _parts(found: Status) -> list[SourceStatus | SinkStatus]:
    return [*found.sources, *found.sinks]


def _name(text: str) -> str:
    """Return a name on so many lines that a narrow terminal has room for the other columns."""
    return "\n".join(textwrap.wrap(text, max(12, out.width // 5)))


def _state(word: str) -> str:
    return f"[{_COLOURS.get(word, 'dim')}]{word}[/]"
