"""`export`: a range of the audit log, straight from Bitbucket; nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from forwarder.cli import completion
from forwarder.cli.events import (
    Actors,
    Format,
    Kinds,
    Projects,
    Repositories,
    Since,
    Until,
    doubt,
    event_filter,
)
from forwarder.cli.listing import Output, listing
from forwarder.cli.terminal import ConfigOption, err, loaded, shown
from forwarder.errors import ConfigError
from forwarder.span import many

if TYPE_CHECKING:
    from forwarder.model import Event, EventFilter, Page, Record
    from forwarder.normalizers import Catalogue
    from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
    from forwarder.sources.bitbucket_audit.source import BitbucketAudit


def export(
    config: ConfigOption = None,
    *,
    since: Since = None,
    until: Until = None,
    action: Annotated[
        list[str] | None, typer.Option("--action", help="An action's exact display text.")
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option("--category", help='A category\'s exact text; "*" takes every category.'),
    ] = None,
    kind: Kinds = None,
    actor: Actors = None,
    project: Projects = None,
    repository: Repositories = None,
    output: Format = None,
    to: Annotated[Path | None, typer.Option("--to", help="Write to a file.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="Which configured source, if there are several.",
            autocompletion=completion.sources,
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Bitbucket's address, in place of a configuration.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="With --url: file with the access token.")
    ] = None,
) -> None:
    """Write a range of Bitbucket's audit log as JSON lines or CSV, oldest first.

    Reads with the configured source's address and credential, or with --url and --token-file.
    Projects and repositories are asked for by Bitbucket itself, so a project administrator's
    token is enough for its own.

    Examples:

      soteri-forwarder export --since 30d --output csv --to audit.csv

      soteri-forwarder export --action "Security hook skipped" --repository SEC/payments

      soteri-forwarder export --url https://bitbucket.example.com --token-file ./token --since 24h
    """
    from forwarder.normalizers import CatalogueNormalizer

    name, asked, catalogue = _bitbucket(config, source, url, token_file)
    every = category is not None and "*" in category
    narrowed = asked.model_copy(
        update={
            "actions": tuple(action or ()),
            "categories": () if every else tuple(category or asked.categories),
            "projects": tuple(project or asked.projects),
            "repositories": tuple(map(_repository, repository or asked.repositories)),
        }
    )
    wanted = event_filter(since, until, kind, actor, None, None)
    doubt(kind, catalogue)
    normalize = partial(CatalogueNormalizer(catalogue), source=name)
    anyio.run(lambda: _export(narrowed.open(name=name), normalize, wanted, output, to))


def _repository(written: str) -> str:
    from forwarder.sources.bitbucket_audit.connection import repository_name

    try:
        return repository_name(written)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--repository") from error


def _bitbucket(
    path: Path | None, source: str | None, url: str | None, token_file: Path | None
) -> tuple[str, BitbucketAuditConfig, Catalogue]:
    """Return a source, the name by which its events are told apart, and what they are called."""
    from pydantic import ValidationError

    from forwarder.normalizers import Catalogue
    from forwarder.secret import Secret
    from forwarder.sources.bitbucket_audit import BitbucketAuditConfig

    if url is not None:
        if token_file is None:
            raise typer.BadParameter("--url needs --token-file too")
        if "://" not in url:
            raise typer.BadParameter('begin it with "https://"', param_hint="--url")
        secret = Secret(path=token_file)
        try:
            given = BitbucketAuditConfig(type="bitbucket_audit", url=url, token=secret)
        except ValidationError as error:
            raise ConfigError(
                f"--{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}"
                for each in error.errors()
            ) from None
        return "bitbucket", given, loaded(path).catalogue if path else Catalogue()
    configuration = loaded(path)
    configured = configuration.sources.items()
    sources = {name: one for name, one in configured if isinstance(one, BitbucketAuditConfig)}
    if not sources:
        raise ConfigError(['there is no source with type = "bitbucket_audit" to export from'])
    if source is None and len(sources) > 1:
        raise typer.BadParameter(f"choose one of --source {', --source '.join(sources)}")
    name = source or next(iter(sources))
    if name not in sources:
        raise ConfigError([f'--source {name}: no such source; there is "{", ".join(sources)}"'])
    return name, sources[name], configuration.catalogue


async def _export(
    opened: AbstractAsyncContextManager[BitbucketAudit],
    normalize: Callable[[Record], Event],
    wanted: EventFilter,
    output: Output | None,
    to: Path | None,
) -> None:
    from forwarder.selection import matcher

    matches = matcher(wanted)
    written = 0
    async with opened as source:
        with listing(output, to) as lines, _progress() as bar:
            task = bar.add_task("reading", total=None, events=0)
            async with aclosing(source.read(wanted.since, wanted.until)) as pages:
                begins: datetime | None = None
                async for page in pages:
                    begins = begins or page.checkpoint.mark
                    for record in page.records:
                        event = normalize(record)
                        if matches(event):
                            lines.add(event)
                            written += 1
                    _advance(bar, task, page, begins, wanted.until, written)
                    _report_unreadable(page)
    err.print(many(written, "event"))


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def _advance(
    bar: Progress,
    task: TaskID,
    page: Page,
    begins: datetime,
    until: datetime | None,
    written: int,
) -> None:
    """Show how far the reading has come in time: how many events follow, nobody knows."""
    mark = page.checkpoint.mark
    whole = ((until or datetime.now(UTC)) - begins).total_seconds()
    done = (mark - begins).total_seconds()
    bar.update(
        task, total=max(whole, done), completed=done, events=written, description=f"{mark:%Y-%m-%d}"
    )


def _report_unreadable(page: Page) -> None:
    for record in page.unreadable:
        err.print(
            f"[red]unreadable:[/] {shown(record.detail)}: {shown(repr(record.original[:200]))}"
        )
