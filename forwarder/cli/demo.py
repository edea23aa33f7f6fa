"""`demo`: a Bitbucket, the forwarder and a file, all on this machine."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import msgspec
import typer

from forwarder.cli.listing import TableListing
from forwarder.cli.terminal import INCOMPLETE, out, seconds, show, shown, table
from forwarder.span import span

if TYPE_CHECKING:
    from forwarder.config import Config
    from forwarder.model import Event
    from forwarder.simulator import Simulator

_HISTORY: Final = 300  # of all categories; the forwarder takes Soteri's
_PER_SECOND: Final = 5.0
_CONFIG: Final = """\
# Written by `soteri-forwarder demo`; a real one looks just like it.
[sources.bitbucket]
type = "bitbucket_audit"
url = "{url}"
token_file = "{folder}/bitbucket-token"
start_at = "beginning"
poll_interval = "1s"

[store]
url = "sqlite:///{folder}/forwarder.db"

[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"

[server]
listen = "127.0.0.1:{port}"
"""


def demo(
    *,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Go on until stopped with Ctrl-C.")
    ] = False,
    duration: Annotated[
        str, typer.Option("--for", help="How long events go on happening.")
    ] = "12s",
    port: Annotated[
        int, typer.Option("--port", help="Of the status page and /metrics; 0 takes a free one.")
    ] = 0,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where to work; by default a new one.")
    ] = None,
) -> None:
    """Watch audit events travel from a simulated Bitbucket into a file; nothing to set up.

    Ends by itself, with 0 if every event that the simulator made is in the file once.

    Examples:

      soteri-forwarder demo

      soteri-forwarder demo --keep-running --port 9187
    """
    from forwarder.app.replicas import ungrouped

    lasting = seconds(duration, "--for")
    place = _new(folder) if folder else Path(tempfile.mkdtemp(prefix="soteri-forwarder-demo-"))
    with ungrouped():
        well = anyio.run(_play, place, float("inf") if keep_running else lasting, port)
    sys.exit(0 if well else INCOMPLETE)


def _new(folder: Path) -> Path:
    """Make the folder; one with the store of an earlier demo would not add up."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise typer.BadParameter(f"{folder} is not empty", param_hint="--folder")
    except OSError as error:
        said = f"{folder} cannot be made: {error.strerror}"
        raise typer.BadParameter(said, param_hint="--folder") from error
    return folder.absolute()


@dataclass(slots=True)
class _Arrivals:
    """What is in the file, read as it grows."""

    path: Path
    began_at: datetime
    ids: list[str] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    _read: int = 0

    def fresh(self) -> list[Event]:
        """Return the events of the whole lines that are new, and take note of their lag."""
        from forwarder.model import Event

        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        events = [msgspec.json.decode(line, type=Event) for line in whole.splitlines()]
        now = datetime.now(UTC)
        self.ids += [event.event_id for event in events]
        self.lags += [
            (now - event.occurred_at).total_seconds()
            for event in events
            if event.occurred_at > self.began_at
        ]
        return events


async def _play(folder: Path, lasting: float, port: int) -> bool:
    from forwarder import app
    from forwarder.simulator import Simulator, SimulatorOptions, serve

    simulator = Simulator(SimulatorOptions(history=_HISTORY))
    async with serve(simulator) as url:
        config = _configured(folder, url, simulator, port or _free_port())
        out.print(f"A simulated Bitbucket with Soteri listens on [bold]{shown(url)}[/].")
        out.print(f"The forwarder's configuration: [bold]{shown(str(folder / 'config.toml'))}[/]")
        out.print(f"How it is, in a browser: [bold]http://{shown(config.server.listen)}/[/]\n")
        arrivals = _Arrivals(folder / "audit.jsonl", datetime.now(UTC))
        with (folder / "forwarder.log").open("w", encoding="utf-8") as log:
            config.log.apply(log)
            was_stopped = True
            async with _beside(partial(app.run, config, lambda: config)):
                await _show(simulator, arrivals, lasting)
                was_stopped = False
            if was_stopped:  # by Ctrl-C: what was made since the last poll is still to come
                await app.run_once(config, deadline=20)
    return _summary(simulator, arrivals)


@asynccontextmanager
async def _beside(daemon: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run the daemon while the body runs; the body ends when the daemon does (Ctrl-C)."""
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await daemon()
            group.cancel_scope.cancel()

        group.start_soon(run)
        yield
        group.cancel_scope.cancel()


async def _show(simulator: Simulator, arrivals: _Arrivals, lasting: float) -> None:
    from forwarder.normalizers.soteri import CATEGORY

    lines = TableListing()
    ends = anyio.current_time() + lasting
    while anyio.current_time() < ends:
        simulator.emit_any(1)
        for event in arrivals.fresh():
            lines.add(event)
        await anyio.sleep(1 / _PER_SECOND)
    made = len(simulator.truth(categories=[CATEGORY]))
    with anyio.move_on_after(20):
        while len(arrivals.ids) < made:
            for event in arrivals.fresh():
                lines.add(event)
            await anyio.sleep(0.1)


def _summary(simulator: Simulator, arrivals: _Arrivals) -> bool:
    from forwarder.normalizers.soteri import CATEGORY

    arrivals.fresh()
    made = len(simulator.truth(categories=[CATEGORY]))
    inside = len(set(arrivals.ids))
    doubled = len(arrivals.ids) - inside
    rows = table()
    rows.add_row("events that Bitbucket made for Soteri", f"{made}")
    rows.add_row("events in the file", f"{inside}")
    rows.add_row("missing", f"{made - inside}")
    rows.add_row("doubled", f"{doubled}")
    if arrivals.lags:
        lag = f"{span(median(arrivals.lags))}, at most {span(max(arrivals.lags))}"
        rows.add_row("lag, polling each second", lag)
    out.print("\n[bold]What happened[/]")
    show(rows)
    out.print(f"The file: [bold]{shown(str(arrivals.path))}[/]")
    out.print(f"The daemon's log: [bold]{shown(str(arrivals.path.parent / 'forwarder.log'))}[/]")
    return made == inside and not doubled


def _configured(folder: Path, url: str, simulator: Simulator, port: int) -> Config:
    from forwarder.config import load

    token = folder / "bitbucket-token"
    token.touch(mode=0o600)
    token.write_text(simulator.options.token + "\n", "utf-8")
    path = folder / "config.toml"
    path.write_text(_CONFIG.format(url=url, folder=folder, port=port), "utf-8")
    return load(path, {})


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
