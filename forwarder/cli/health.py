"""`health`: whether the daemon on this machine is well, for what restarts it if it is not."""

import sys
from typing import Annotated

import typer

from forwarder.cli.terminal import ConfigOption, err, out, shown
from forwarder.health import ask


def health(
    config: ConfigOption = None,
    *,
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask /readyz: has every source been read yet?")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the answer.")
    ] = 3.0,
) -> None:
    """Ask the daemon at [server] listen whether it is well (/livez).

    Exits 0 when it is, 1 when it is stuck or does not answer. Trouble of Bitbucket or of a
    destination is no reason for 1, as no restart mends it: `status` tells of that.

    Examples:

      soteri-forwarder health

      soteri-forwarder health --ready --config ./config.toml
    """
    answer = ask(config, "/readyz" if ready else "/livez", seconds=timeout)
    for line in answer.text.splitlines():
        (err if answer.code else out).print(shown(line))
    sys.exit(answer.code)
