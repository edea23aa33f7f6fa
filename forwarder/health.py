"""Whether the daemon on this machine is well, asked with the standard library alone.

Container engines ask twice a minute, within the daemon's own memory limit: 15 MB and 50 ms here,
55 MB and a second with everything that the other verbs import. So only the one address that is
needed is looked up, and nothing above this module is imported.
"""

import os
import tomllib
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, Literal, NamedTuple

Question = Literal["/livez", "/readyz"]

_VARIABLE: Final = "forwarder_server__listen"
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  asked, never bound


class Answer(NamedTuple):
    """What to print, and the exit code: 0 well, 1 not well, 78 the configuration is wrong."""

    code: int
    text: str


def ask(config: Path | None, question: Question = "/livez", *, seconds: float = 3.0) -> Answer:
    """Return what the daemon says of itself at `[server] listen` within `seconds`; never raises."""
    try:
        address = listening(config, os.environ)
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        connection = HTTPConnection(_LOOPBACK.get(host, host), int(port), timeout=seconds)
    except (OSError, ValueError, AttributeError, HTTPException) as error:
        return Answer(78, f"error: server.listen cannot be read: {error}")
    try:
        connection.request("GET", question)
        answer = connection.getresponse()
        said = answer.read(10_000).decode("utf-8", "replace").rstrip()
    except (OSError, HTTPException) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Answer(
            1,
            f"error: the daemon does not answer at {address}: {said}\n"
            "  remedy: start it (soteri-forwarder run); where it runs, [server] listen is another",
        )
    finally:
        connection.close()
    return Answer(0 if answer.status == 200 else 1, said)


def listening(path: Path | None, environ: Mapping[str, str]) -> str:
    """Return what `[server] listen` is: in the environment, else in the file, else by default.

    Raises:
        OSError, ValueError, AttributeError: the file cannot be read or is of another shape, or
            the server is switched off.
    """
    found = next((text for name, text in environ.items() if name.lower() == _VARIABLE), None)
    if found is None:
        named = path or environ.get("FORWARDER_CONFIG")
        file = Path(named or "/etc/soteri-forwarder/config.toml")
        tree = tomllib.loads(file.read_text("utf-8")) if named or file.exists() else {}
        found = str(tree.get("server", {}).get("listen", "127.0.0.1:9187"))
    if not found:
        raise ValueError('it is "", which switches the server off: give it an address')
    return found
