"""`events`: what the outbox holds, delivered or not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from forwarder.cli import completion
from forwarder.cli.listing import Output, listing
from forwarder.cli.terminal import ConfigOption, err, loaded, parse_time, shown

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.model import EventFilter
    from forwarder.normalizers import Catalogue

Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--kind", help='Such as "hook.skipped" or "hook.*".', autocompletion=completion.kinds
    ),
]
Actors = Annotated[list[str] | None, typer.Option("--actor", help="A user's name.")]
Projects = Annotated[list[str] | None, typer.Option("--project", help="A project's key.")]
Repositories = Annotated[
    list[str] | None, typer.Option("--repository", help='A slug, or "KEY/slug".')
]
Since = Annotated[str | None, typer.Option("--since", help='A time, or how long ago: "24h".')]
Until = Annotated[str | None, typer.Option("--until", help="A time, or how long ago; exclusive.")]
Format = Annotated[
    Output | None,
    typer.Option("--output", "-o", help="By default a table on a terminal, JSON in a pipe."),
]


def events(
    config: ConfigOption = None,
    *,
    since: Since = None,
    until: Until = None,
    kind: Kinds = None,
    actor: Actors = None,
    project: Projects = None,
    repository: Repositories = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until stopped.")
    ] = False,
    output: Format = None,
) -> None:
    """Show stored events, oldest first. Options of one kind widen, options of two kinds narrow.

    Examples:

      soteri-forwarder events --since 24h --kind 'hook.*'

      soteri-forwarder events --repository SEC/payments --output csv > payments.csv

      soteri-forwarder events --follow
    """
    wanted = event_filter(since, until, kind, actor, project, repository)
    configuration = loaded(config)
    doubt(kind, configuration.catalogue)
    anyio.run(lambda: _list(configuration, wanted, follow=follow, output=output))


def event_filter(
    since: str | None,
    until: str | None,
    kinds: list[str] | None,
    actors: list[str] | None,
    projects: list[str] | None,
    repositories: list[str] | None,
) -> EventFilter:
    """Return what the options ask for."""
    from forwarder.model import EventFilter

    return EventFilter(
        since=parse_time(since, "--since") if since else None,
        until=parse_time(until, "--until") if until else None,
        kinds=tuple(kinds or ()),
        actors=tuple(actors or ()),
        projects=tuple(projects or ()),
        repositories=tuple(repositories or ()),
    )


def doubt(kinds: list[str] | None, catalogue: Catalogue) -> None:
    """Say which of `kinds` is likely misspelt; an action that nobody knows has a kind too."""
    from forwarder.config.problems import did_you_mean

    for kind in kinds or ():
        known = catalogue.kinds
        if "*" not in kind and kind.lower() not in known and (near := did_you_mean(kind, known)):
            err.print(f"[yellow]note:[/] {shown(kind)} is no kind that is known{shown(near)}")


async def _list(
    config: Config, wanted: EventFilter, *, follow: bool, output: Output | None
) -> None:
    async with config.store.open(lock=False) as outbox:
        with listing(output) as lines:
            after = 0
            while True:
                async for place, event in outbox.events(wanted, after=after):
                    lines.add(event)
                    after = place
                if not follow:
                    return
                sys.stdout.flush()
                await anyio.sleep(1.0)
