"""`check`: is the configuration right, and does everything that it names answer?"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, Literal

import anyio
import msgspec
import typer

from forwarder.cli.terminal import (
    OK,
    ConfigOption,
    err,
    exit_code,
    loaded,
    out,
    say_json,
    show,
    shown,
    table,
)
from forwarder.errors import ForwarderError, StoreError, TransientError

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.interfaces import Sink, Source
    from forwarder.model import Checkpoint, Concern

_WORDS: Final = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "fails": "[red]fails[/]"}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one part, in the user's words: ``store``, ``source NAME``, ``sink NAME``.

    A `note` works now and has a remedy nevertheless; `code` is what the process exits with.
    """

    part: str
    state: Literal["ok", "note", "fails"]
    found: str
    remedy: str = ""
    code: int = OK


def check(
    config: ConfigOption = None,
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Stop after the configuration: ask nobody.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Try the configuration, then each source, the store and each sink; nothing is delivered.

    Says what is wrong and what to do about it; a "note" works, and is likely to hurt later.
    Exits 78 for the configuration, 74 for the store, 77 where access is refused, 1 for anything
    else that fails.

    Examples:

      soteri-forwarder check

      soteri-forwarder check --offline --config ./config.toml

      soteri-forwarder check --json | jq '.findings[] | select(.state != "ok")'
    """
    configuration = loaded(config)
    findings = [Finding(part="configuration", state="ok", found="no mistakes")]
    if not offline:
        findings += anyio.run(_probe_all, configuration)
    code = max(finding.code for finding in findings)
    if json:
        say_json({"ok": code == OK, "findings": findings})
    elif out.is_terminal:
        _tabulate(findings)
    else:
        _list(findings)
    sys.exit(code)


def _tabulate(findings: Sequence[Finding]) -> None:
    rows = table()
    for name in ("state", "part", "found"):
        rows.add_column(name, style="bold" if name == "part" else None, overflow="fold")
    for finding in findings:
        said = shown(finding.found)
        if finding.remedy:
            said += f"\n[bold]remedy:[/] {shown(finding.remedy)}"
        rows.add_row(_WORDS[finding.state], shown(finding.part), said)
    show(rows)


def _list(findings: Sequence[Finding]) -> None:
    """Print a line each, what fails to stderr, so that a pipe and cron's mail tell it."""
    for finding in findings:
        stream = err if finding.state == "fails" else out
        stream.print(f"{finding.state:5} {shown(finding.part)}: {shown(finding.found)}")
        if finding.remedy:
            stream.print(f"      remedy: {shown(finding.remedy)}")


async def _probe_all(config: Config) -> list[Finding]:
    """Ask every part at the same time; the findings come in the order of the configuration."""
    asked = [("store", partial(_store, config))]
    asked += [(f"source {name}", partial(_source, config, name)) for name in config.sources]
    asked += [(f"sink {name}", partial(_sink, config, name)) for name in config.sinks]
    found: list[list[Finding]] = [[] for _ in asked]

    async def ask(number: int) -> None:
        part, probe = asked[number]
        found[number] = await _probe(part, probe)

    async with anyio.create_task_group() as group:
        for number in range(len(asked)):
            group.start_soon(ask, number)
    return [finding for some in found for finding in some]


async def _probe(
    part: str, probe: Callable[[], Awaitable[tuple[str, Sequence[Concern]]]]
) -> list[Finding]:
    try:
        said, concerns = await probe()
    except ForwarderError as error:
        failed = Finding(
            part=part,
            state="fails",
            found=str(error),
            remedy=error.remedy,
            code=exit_code(error),
        )
        return [failed]
    notes = [Finding(part=part, state="note", found=x.found, remedy=x.remedy) for x in concerns]
    return [Finding(part=part, state="ok", found=said), *notes]


async def _store(config: Config) -> tuple[str, Sequence[Concern]]:
    return await config.store.probe(), await config.store.concerns()


async def _source(config: Config, name: str) -> tuple[str, Sequence[Concern]]:
    from forwarder.sources.bitbucket_audit import BitbucketAuditConfig

    options = config.sources[name]
    if not isinstance(options, BitbucketAuditConfig):
        return await _asked(options.open(name=name))
    scoped = options.projects or options.repositories
    async with options.open(name=name) as source:
        said = await source.probe(known=await _checkpoint(config, name) if scoped else None)
        return said, await source.concerns()


async def _checkpoint(config: Config, name: str) -> Checkpoint | None:
    """Return what a poll goes on from; None too where the store cannot say, which is its finding.

    It alone holds the ids of what was renamed or moved since.
    """
    try:
        async with config.store.open(lock=False) as outbox:
            return await outbox.checkpoint(name)
    except (StoreError, TransientError):
        return None


async def _sink(config: Config, name: str) -> tuple[str, Sequence[Concern]]:
    from forwarder.app.parts import Forgetful
    from forwarder.config import format_named

    options = config.sinks[name]
    format_ = format_named(options.format)
    return await _asked(options.open(name=name, format=format_, memory=Forgetful()))


async def _asked(
    opening: AbstractAsyncContextManager[Source | Sink],
) -> tuple[str, Sequence[Concern]]:
    from forwarder.interfaces import Advises

    async with opening as part:
        said = await part.probe()
        return said, await part.concerns() if isinstance(part, Advises) else ()
