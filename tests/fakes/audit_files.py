"""A node's audit log folder, written as Bitbucket writes it, out of events as REST gives them."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def line_of(event: dict[str, Any], *, nano: int = 0, seed: int = 0) -> bytes:
    """Return the line that a node writes for `event`: sorted keys, no uri, attributes shuffled.

    `nano` is what the file knows beyond the millisecond, 0 to 999,999.
    """
    since = datetime.fromisoformat(event["timestamp"]) - EPOCH
    written = {key: value for key, value in event.items() if key not in ("type", "timestamp")}
    written["auditType"] = {**event["type"], "area": "ECOSYSTEM", "level": "BASE"}
    written["version"] = "1.0"
    written["timestamp"] = {
        "epochSecond": since.days * 86_400 + since.seconds,
        "nano": since.microseconds * 1000 + nano,
    }
    if "author" in event:
        written["author"] = _without_uris(event["author"])
    written["affectedObjects"] = [_without_uris(one) for one in event.get("affectedObjects", [])]
    attributes = list(event.get("extraAttributes", []))
    random.Random(seed).shuffle(attributes)
    written["extraAttributes"] = attributes
    return json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _without_uris(value: dict[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in value.items() if key not in ("uri", "avatarUri")}


class NodeFolder:
    """The folder of one node; `rotate` begins a new file, as at midnight or at 100 MB."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._day = 1
        self._number = 0

    @property
    def current(self) -> Path:
        return self.path / f"202003{self._day:02}.{self._number:05}.audit.log"

    def rotate(self, *, midnight: bool = False) -> None:
        if midnight:
            self._day, self._number = self._day + 1, 0
        else:
            self._number += 1

    def append(self, *lines: bytes) -> None:
        self.write(b"".join(line + b"\n" for line in lines))

    def write(self, text: bytes) -> None:
        with self.current.open("ab") as file:
            file.write(text)
