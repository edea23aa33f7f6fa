"""`replay`: stored events of a time range to one sink again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import typer

from forwarder.cli import completion
from forwarder.cli.events import Kinds, Since, Until, doubt, event_filter
from forwarder.cli.terminal import INCOMPLETE, ConfigOption, err, loaded, out, say_json, shown
from forwarder.span import many

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.model import EventFilter, Replay

SinkName = Annotated[
    str,
    typer.Option(
        "--sink", help="The sink's name in the configuration.", autocompletion=completion.sinks
    ),
]
LATER: Final = "no daemon runs: they are sent when it does (soteri-forwarder run)"


def replay(
    config: ConfigOption = None,
    *,
    sink: SinkName,
    since: Since = None,
    until: Until = None,
    kind: Kinds = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be sent.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Send the sink nothing again of what is left.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Send stored events that a sink has taken already to it again, with the same event ids.

    Says how many and from when. The daemon sends them in small batches between what is new, and
    goes on after a restart; status shows how far it is. What the sink has not taken yet comes in
    its turn anyway. Exits 1 where there is nothing to send.

    Examples:

      soteri-forwarder replay --sink splunk --since 2026-11-20 --until 2026-11-21 --dry-run

      soteri-forwarder replay --sink splunk --since 24h --kind 'hook.*'

      soteri-forwarder replay --sink splunk --cancel
    """
    if since is None and not cancel:
        raise typer.BadParameter("say from when on, such as 24h", param_hint="--since")
    wanted = event_filter(since, until, kind, None, None, None)
    configuration = loaded(config)
    known_sink(configuration, sink)
    doubt(kind, configuration.catalogue)
    if cancel:
        anyio.run(_cancel, configuration, sink)
        return
    plan = anyio.run(lambda: _replay(configuration, sink, wanted, dry_run=dry_run))
    if json:
        told = {name: getattr(plan, name) for name in ("sink", "events", "oldest_at", "newest_at")}
        told["asked"] = bool(plan.events) and not dry_run
        say_json(told)
    else:
        _show(plan, dry_run=dry_run)
    if not plan.events:
        sys.exit(INCOMPLETE)


def known_sink(config: Config, sink: str) -> None:
    """Refuse a sink that is not configured, naming those that are."""
    if sink not in config.sinks:
        from forwarder.config.problems import did_you_mean_or_known

        said = f'there is no sink "{sink}"{did_you_mean_or_known(sink, sorted(config.sinks))}'
        raise typer.BadParameter(said, param_hint="--sink")


async def said_later(config: Config) -> None:
    """Say that nothing is sent before a daemon runs, where none does."""
    if not await config.store.in_use():
        err.print(f"[yellow]note:[/] {LATER}")


async def _replay(config: Config, sink: str, wanted: EventFilter, *, dry_run: bool) -> Replay:
    async with config.store.open(lock=False, write=not dry_run) as outbox:
        plan = await outbox.plan_replay(sink, wanted)
        if plan.events and not dry_run:
            await outbox.ask_replay(plan)
            await said_later(config)
    return plan


def _show(plan: Replay, *, dry_run: bool) -> None:
    if plan.oldest_at and plan.newest_at:
        said = many(plan.events, "event")
        verb = "would be" if dry_run else "is" if plan.events == 1 else "are"
        span = f"{plan.oldest_at:%Y-%m-%d %H:%M:%S}Z to {plan.newest_at:%Y-%m-%d %H:%M:%S}Z"
        out.print(f"{said} from {span} {verb} sent to {shown(plan.sink)} again")
    else:
        err.print(f"nothing that {shown(plan.sink)} has taken is stored from then")


async def _cancel(config: Config, sink: str) -> None:
    async with config.store.open(lock=False, write=True) as outbox:
        left = await outbox.cancel_replays(sink)
    out.print(f"{many(left, 'event is', 'events are')} not sent to {shown(sink)} again")
