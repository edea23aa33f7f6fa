"""`move-store`: everything that is stored to another store, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from rich.progress import Progress, TaskID

from forwarder.cli.terminal import ConfigOption, err, loaded, out, shown

if TYPE_CHECKING:
    from forwarder.store import StoreConfig


def move_store(
    config: ConfigOption = None,
    *,
    to: Annotated[str, typer.Option("--to", help="Where to, as [store] url has it.")],
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="Of a file with its password.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would move.")] = False,
) -> None:
    """Move all that is stored to another store: SQLite to PostgreSQL, back, or to another place.

    Events with their chain, checkpoints, positions, dead letters, replays, and what each sink
    remembers: every source and sink goes on where it was. Stop the forwarder first. The other
    store must be empty; it gets all or, when interrupted, nothing. The old one stays as it is.

    Examples:

      soteri-forwarder move-store --to postgresql://forwarder@db.example.com/forwarder --dry-run

      soteri-forwarder move-store --to sqlite:////var/lib/soteri-forwarder/forwarder.db
    """
    source = loaded(config).store
    target = _target(to, password_file)
    if (target.url, target.is_shared) == (source.url, source.is_shared):
        raise typer.BadParameter("that is where it is", param_hint="--to")
    anyio.run(lambda: _move(source, target, dry_run=dry_run))


def _target(url: str, password_file: Path | None) -> StoreConfig:
    from pydantic import ValidationError

    from forwarder.store import StoreConfig

    written = {"url": url} | ({"password_file": str(password_file)} if password_file else {})
    try:
        return StoreConfig.model_validate(written)
    except ValidationError as error:
        said = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
        raise typer.BadParameter(said, param_hint="--to") from None


async def _move(source: StoreConfig, target: StoreConfig, *, dry_run: bool) -> None:
    from forwarder.store.moving import move

    tasks: dict[str, TaskID] = {}
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:

        def progress(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = bar.add_task(table, total=total)
            bar.update(tasks[table], completed=done)

        moved = await move(source, target, dry_run=dry_run, progress=progress)
    for each in moved:
        counts = f"{each.found:,}" if dry_run else f"{each.found:,} found, {each.moved:,} moved"
        out.print(f"{each.table}: {counts}")
    if dry_run:
        out.print(f"would move to {shown(target.url)}; nothing was written")
    else:
        out.print(
            f"moved to {shown(target.url)}: set [store] url to it. The old store stays as it was:"
            " do not run on it again, it would send again what is sent from here on"
        )
