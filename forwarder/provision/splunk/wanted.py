"""What there should be at Splunk, and the sink that sends there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from forwarder.detections import Detection
from forwarder.sinks.splunk_hec import SOURCETYPE

Part = Literal["index", "token", "alerts"]
PARTS: Final[tuple[Part, ...]] = ("index", "token", "alerts")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What there should be; `retention` is in seconds, None leaves the index's own."""

    index: str
    token: str
    app: str
    parts: frozenset[Part]
    recipients: tuple[str, ...] = ()
    detections: tuple[Detection, ...] = ()
    sourcetype: str = SOURCETYPE
    retention: float | None = None
    token_file: Path | None = None


def snippet(wanted: Wanted, url: str, *, sink: str = "splunk") -> Sequence[str]:
    """Return the lines of the configuration that send to what was made."""
    file = wanted.token_file or "/run/secrets/hec-token"
    return (
        f"[sinks.{sink}]",
        'type = "splunk_hec"',
        f'url = "{url}"',
        f'token_file = "{file}"',
        f'index = "{wanted.index}"',
        "ack = true",
    )
