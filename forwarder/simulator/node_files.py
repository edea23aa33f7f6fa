"""The audit log files that each node writes beside what the API answers (docs/bitbucket.md)."""

import json
import random
from pathlib import Path
from typing import Any, Final

from forwarder.simulator.clock import from_ms
from forwarder.simulator.log import decoded, event_ms

_AREA_AND_LEVEL: Final = {"area": "ECOSYSTEM", "level": "BASE"}


class NodeFiles:
    """``FOLDER/NODE/yyyyMMdd.00000.audit.log`` of every node, a file for each day.

    Days are UTC's; a row that shows up late goes to the file of the newest day. Not covered: the
    next file at 100 MB, and the removal of all but the newest hundred.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._days: dict[str, str] = {}

    def write(self, body: bytes, at_ms: int) -> None:
        """Append an event, given as REST shows it, to its node's file; what is none, as it is.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            event = decoded(body)
            node, line = str(event.get("node", "unknown")), line_of(event)
        except (ValueError, TypeError, KeyError, AttributeError):
            node, line = "unknown", body
        day = max(f"{from_ms(at_ms):%Y%m%d}", self._days.get(node, ""))
        self._days[node] = day
        path = self._folder / node / f"{day}.00000.audit.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(line + b"\n")


def line_of(event: dict[str, Any], *, nano: int = 0, seed: int = 0) -> bytes:
    """Return the line that a node writes for `event`: sorted keys, no uri, attributes shuffled.

    `nano` is what the file knows beyond the millisecond, 0 to 999,999.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is not shaped as an event.
    """
    ms = event_ms(event["timestamp"])
    written = {key: value for key, value in event.items() if key not in ("type", "timestamp")}
    written["auditType"] = {**event["type"], **_AREA_AND_LEVEL}
    written["version"] = "1.0"
    written["timestamp"] = {"epochSecond": ms // 1000, "nano": ms % 1000 * 1_000_000 + nano}
    if "author" in event:
        written["author"] = _without_uris(event["author"])
    written["affectedObjects"] = [_without_uris(one) for one in event.get("affectedObjects", [])]
    attributes = list(event.get("extraAttributes", []))
    random.Random(seed).shuffle(attributes)  # noqa: S311  dice, not keys
    written["extraAttributes"] = attributes
    return json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _without_uris(value: dict[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key not in ("uri", "avatarUri")}
