"""`reconcile`: is what Bitbucket shows in the store, and at each destination that can be asked?"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import typer

from forwarder.cli import completion
from forwarder.cli.events import Since, Until
from forwarder.cli.terminal import (
    INCOMPLETE,
    OK,
    ConfigOption,
    err,
    exit_code,
    loaded,
    out,
    parse_time,
    say_json,
    show,
    shown,
    table,
)
from forwarder.errors import ConfigError
from forwarder.span import many

if TYPE_CHECKING:
    from forwarder.comparison import Side
    from forwarder.reconciliation import Reconciliation

_LISTED: Final = 20


def reconcile(
    config: ConfigOption = None,
    *,
    since: Since = None,
    until: Until = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            "--sink",
            help="Ask this sink only; may be repeated.",
            autocompletion=completion.sinks,
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Store what the store lacks, send what sinks lack.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Ask Bitbucket again for a time range, and compare with the store and every destination.

    A `file` is read with its rotated and compressed parts; CloudWatch Logs is asked with the
    sink's own credentials (logs:FilterLogEvents); Splunk through `management` of its sink. Syslog
    cannot be asked. Reading Bitbucket's audit log adds a row to it for each page.

    Exits 1 where anything is missing. What is still waiting, is a dead letter, or is past the
    store's retention is counted apart. It may run beside the daemon, with --repair too: what the
    store lacks is added to it and goes to every sink in its turn, and what a sink lacks is sent
    again by the daemon, or by its next run. With --repair it exits 0 once all is on its way.

    Examples:

      soteri-forwarder reconcile --since 24h

      soteri-forwarder reconcile --since 2026-11-01 --until 2026-11-08 --sink splunk --repair
    """
    from forwarder.reconciliation import Reconciler

    if since is None:
        raise typer.BadParameter('say from when: --since 24h, --since "2026-11-22"')
    configuration = loaded(config)
    chosen = list(sink or configuration.sinks)
    if strangers := [name for name in chosen if name not in configuration.sinks]:
        known = ", ".join(configuration.sinks)
        raise ConfigError(
            [f'--sink {name}: no such sink; there is "{known}"' for name in strangers]
        )
    reconciler = Reconciler(configuration, repair=repair)
    with err.status("asking"):
        found = anyio.run(
            reconciler.run,
            _whole(parse_time(since, "--since")),
            _whole(parse_time(until, "--until") if until else datetime.now(UTC)),
            chosen,
        )
    if json:
        say_json(found)
    else:
        _show(found)
    codes = [exit_code(error) for error in reconciler.failures]
    sys.exit(max([*codes, INCOMPLETE if found.missing else OK]))


def _whole(at: datetime) -> datetime:
    """Return the time in whole milliseconds, which is how Bitbucket tells it."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _show(found: Reconciliation) -> None:
    columns = "side", "held", "missing", "extra", "doubled", "waiting", "dead letters", "unwanted"
    rows = table(*columns)
    for side in found.sides:
        if side.unasked:
            continue
        rows.add_row(
            shown(side.name),
            f"{side.held:,}",
            _red(side.missing),
            _red(side.extra),
            _red(side.doubled),
            f"{len(side.waiting):,}",
            f"{len(side.buried):,}",
            f"{len(side.unwanted):,}",
        )
    out.print(f"{found.since:%Y-%m-%d %H:%M:%S}Z to {found.until:%Y-%m-%d %H:%M:%S}Z")
    show(rows)
    for said in found.unread:
        err.print(f"[yellow]note:[/] {shown(said)}")
    for side in found.sides:
        _explain(side)


def _explain(side: Side) -> None:
    from forwarder.event_ids import happened_at

    name = shown(side.name)
    if side.unasked:
        err.print(f"[yellow]note:[/] {name} was not compared: {shown(side.unasked)}")
    if side.forgotten:
        said = many(side.forgotten, "event is", "events are")
        err.print(f"[yellow]note:[/] {name}: {said} past the store's retention, so forgotten")
    for word, ids in (("missing", side.missing), ("extra", side.extra), ("doubled", side.doubled)):
        for event_id in ids[:_LISTED]:
            at = happened_at(event_id)
            out.print(f"{name}: {word} {event_id} of {at:%Y-%m-%d %H:%M:%S}Z")
        if len(ids) > _LISTED:
            out.print(f"{name}: {len(ids) - _LISTED:,} more {word} (--json names all)")
    if side.repaired:
        said = many(side.repaired, "event is", "events are")
        err.print(f"[green]repaired:[/] {name}: {said} on the way")
    if side.unrepaired:
        err.print(f"[red]not repaired:[/] {name}: {shown(side.unrepaired)}")


def _red(ids: tuple[str, ...]) -> str:
    return f"[red]{len(ids):,}[/]" if ids else "0"
