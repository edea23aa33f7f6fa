"""`check`: is the configuration right, and does everything that it names answer?"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any

import anyio
import typer

from forwarder.cli.terminal import OK, ConfigOption, err, exit_code, loaded, out, shown
from forwarder.config import Config, format_named
from forwarder.errors import ForwarderError


def check(
    config: ConfigOption = None,
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Stop after the configuration: ask nobody.")
    ] = False,
) -> None:
    """Try the configuration, then each source, the store and each sink; nothing is delivered.

    Says what to do about what fails. Exits 78 for the configuration, 74 for the store, 77 where
    access is refused, 1 for anything else.

    Examples:

      soteri-forwarder check

      soteri-forwarder check --offline --config ./config.toml
    """
    configuration = loaded(config)
    out.print("[green]ok[/]    configuration")
    if offline:
        return
    codes = anyio.run(_probe_all, configuration)
    sys.exit(max(codes, default=OK))


async def _probe_all(config: Config) -> list[int]:
    probes = [("store", partial(_probe_store, config))]
    probes += [(f"source {name}", partial(_probe_source, config, name)) for name in config.sources]
    probes += [(f"sink {name}", partial(_probe_sink, config, name)) for name in config.sinks]
    return [await _probe(what, ask) for what, ask in probes]


async def _probe(what: str, ask: Callable[[], Awaitable[str]]) -> int:
    try:
        found = await ask()
    except ForwarderError as error:
        err.print(f"[red]fails[/] {shown(what)}: {shown(str(error))}")
        if error.remedy:
            err.print(f"      [bold]remedy:[/] {shown(error.remedy)}")
        return exit_code(error)
    out.print(f"[green]ok[/]    {shown(what)}: {shown(found)}")
    return OK


async def _probe_store(config: Config) -> str:
    return await config.store.probe()


async def _probe_source(config: Config, name: str) -> str:
    async with config.sources[name].open(name=name) as source:
        return await source.probe()


async def _probe_sink(config: Config, name: str) -> str:
    options = config.sinks[name]
    async with options.open(
        name=name, format=format_named(options.format), memory=_Forgetful()
    ) as sink:
        return await sink.probe()


class _Forgetful:
    """The memory of a sink that only probes: the daemon's own is not touched."""

    async def load(self) -> Mapping[str, Any]:
        return {}

    async def save(self, memo: Mapping[str, Any]) -> None:
        pass
