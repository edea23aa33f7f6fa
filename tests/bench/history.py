"""The figures of earlier runs, so that a regression shows: one JSON object a line."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("history.jsonl")
_WORSE: Final = 0.85
"""Share of the last figure below which one is called worse: runs in a row differ by a tenth."""


def compared(found: Mapping[str, Any], file: Path) -> Iterator[str]:
    """Yield a line for each catch-up: how it is to the reference, and how it was the last time."""
    last = _last(file, events=found["events"])
    for name, figures in _figures(found).items():
        now, before = figures["rate_of_reference"], last.get(name, {}).get("rate_of_reference")
        said = f"{name:>10}  {figures['events_per_second']:>7,.0f}/s  {now:.3f} of the reference"
        if before:
            worse = "  WORSE" if now < before * _WORSE else ""
            said += f"  last time {before:.3f} ({100 * (now / before - 1):+.0f} %){worse}"
        yield said


def append(found: Mapping[str, Any], file: Path) -> None:
    """Add the figures to the file, under today's date and the commit that was measured."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    line = {
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "commit": commit,
        "machine": found["machine"],
        "events": found["events"],
        "figures": _figures(found),
    }
    with file.open("a") as open_file:
        open_file.write(json.dumps(line) + "\n")


def _last(file: Path, *, events: int) -> Mapping[str, Mapping[str, float]]:
    """Return what was last found of each catch-up with as many events."""
    found: dict[str, Mapping[str, float]] = {}
    if file.exists():
        for line in map(json.loads, file.read_text().splitlines()):
            if line["events"] == events:
                found |= line["figures"]
    return found


def _figures(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {
        name: value["median"]
        for name, value in found.items()
        if isinstance(value, dict) and "rate_of_reference" in value.get("median", {})
    }
