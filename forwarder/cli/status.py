"""`status`: how it is, from the store alone, so that it answers whether or not a daemon runs."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import msgspec
import typer
from rich.table import Table

from forwarder.cli.terminal import INCOMPLETE, ConfigOption, ago, err, loaded, out, shown
from forwarder.span import span

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.model import SinkStatus, SourceStatus, Status

_COLOURS = {"running": "green", "retrying": "yellow", "waiting": "yellow", "paused": "red"}
_SOON: Final = 86_400.0
_CAUSES: Final = {
    "source_retention": "until the source itself removes what is not read yet",
    "sink_age": "until the oldest unsent event is older than the destination takes",
    "store_capacity": "until the store is full at the present rate, and reading pauses",
}


def status(
    config: ConfigOption = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Show marks, backlogs, lags, last errors and dead letters.

    Exits 0 when all is well, 1 when a source or sink is in trouble or no daemon runs.

    Examples:

      soteri-forwarder status

      soteri-forwarder status --json | jq '.sinks[] | {name, backlog_events}'
    """
    found = anyio.run(_read, loaded(config))
    if json:
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    else:
        _show(found)
    troubled = any(part.state != "running" for part in _parts(found))
    sys.exit(INCOMPLETE if troubled or not found.running else 0)


async def _read(config: Config) -> Status:
    from forwarder.app.overview import stored_status

    running = await config.store.in_use()
    async with config.store.open(lock=False) as outbox:
        return msgspec.structs.replace(await stored_status(config, outbox), running=running)


def _show(found: Status) -> None:
    now = datetime.now(UTC)
    word = "[green]running[/]" if found.running else "[red]not running[/]"
    limit = "" if (most := found.store_limit_bytes) is None else f" of {most / 1e6:,.0f}"
    size = f"{found.store_bytes / 1e6:,.1f}{limit} MB"
    out.print(f"soteri-forwarder {found.version}, {word}, store {size}")
    sources = Table("source", "state", "mark", "stored", "last event stored")
    for source in found.sources:
        sources.add_row(
            source.name,
            _state(source.state),
            f"{source.mark:%Y-%m-%d %H:%M:%S}Z ({ago(source.mark, now=now)})"
            if source.mark
            else "none yet",
            f"{source.events_stored:,}",
            ago(source.stored_at, now=now),
        )
    sinks = Table(
        "sink", "state", "backlog", "lag", "sent", "left out", "dead letters", "last sent"
    )
    for sink in found.sinks:
        sinks.add_row(
            sink.name,
            _state(sink.state),
            f"{sink.backlog_events:,}",
            span(sink.lag_seconds) if sink.backlog_events else "none",
            f"{sink.events_sent:,}",
            f"{sink.events_filtered:,}",
            f"[red]{sink.dead_letters:,}[/]" if sink.dead_letters else "0",
            ago(sink.sent_at, now=now),
        )
    out.print(sources)
    out.print(sinks)
    for part in _parts(found):
        if part.error:
            since = ago(part.since_at, now=now)
            err.print(f"[red]{part.name}[/] {part.state} since {since}: {shown(part.error)}")
        if part.remedy:
            err.print(f"  [bold]remedy:[/] {shown(part.remedy)}")
    _show_beside(found)


def _show_beside(found: Status) -> None:
    """Print what is only there at times: replays, horizons, what is unknown or unreadable."""
    for sink in found.sinks:
        if sink.replay_left:
            done = sink.replay_events - sink.replay_left
            out.print(f"{sink.name}: {done:,} of {sink.replay_events:,} events sent again")
    for horizon in found.loss_horizons:
        left = span(horizon.seconds) if horizon.seconds > 0 else "none"
        colour = "red" if horizon.seconds < _SOON else "dim"
        out.print(f"[{colour}]loss horizon {left}[/]: {_CAUSES[horizon.cause]} ({horizon.part})")
    if found.unknown_events:
        out.print(
            f"[yellow]{found.unknown_events:,}[/] stored events of Soteri's fit no kind: see "
            '"soteri-forwarder events --kind soteri.unknown"'
        )
    if found.unreadable_records:
        err.print(f"[red]{found.unreadable_records:,}[/] records could not be read: dead letters")


def _parts(found: Status) -> list[SourceStatus | SinkStatus]:
    return [*found.sources, *found.sinks]


def _state(word: str) -> str:
    return f"[{_COLOURS.get(word, 'dim')}]{word}[/]"
