"""`run`: the daemon; with `--once`, everything there is and then the end."""

import signal
import sys
from functools import partial
from typing import Annotated

import anyio
import typer

from forwarder.cli.terminal import (
    ACCESS,
    INCOMPLETE,
    OK,
    ConfigOption,
    err,
    loaded,
    seconds,
    shown,
)


def run(
    config: ConfigOption = None,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Read until caught up, deliver everything, and end.")
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", help="With --once: give up after so long.")
    ] = "15m",
) -> None:
    """Forward audit events until stopped (SIGTERM, Ctrl-C).

    SIGHUP opens files again and reads the configuration anew: parts that have changed are swapped,
    and with any mistake in it everything stays as it was.

    With --once: exits 0 when everything is read and delivered, 1 when something is still owed
    (and says what), 77 when that is because access is refused.

    Examples:

      soteri-forwarder run

      soteri-forwarder run --config ./config.toml

      soteri-forwarder run --once --timeout 10m
    """
    from forwarder import app
    from forwarder.config import load

    # Until the daemon takes them itself: the first process of a container would not even hear the
    # one, and the other would end it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(INCOMPLETE if once else OK))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    configuration = loaded(config)
    configuration.log.apply()
    if not once:
        anyio.run(app.run, configuration, partial(load, config))
        return
    deadline = seconds(timeout, "--timeout")
    owed, denied = anyio.run(lambda: app.run_once(configuration, deadline=deadline))
    for line in owed:
        err.print(f"[red]owed:[/] {shown(line)}")
    if owed:
        sys.exit(ACCESS if denied else INCOMPLETE)
