"""The benchmark's history: a figure is compared with the last one of as many events."""

import json
from pathlib import Path
from typing import Any

from tests.bench import history


def found(rate: float, *, events: int = 200_000, name: str = "file") -> dict[str, Any]:
    figures = {"events_per_second": 12_345, "rate_of_reference": rate}
    return {
        "machine": {"cores": 2},
        "events": events,
        name: {"median": figures, "runs": [figures]},
        "idle": {"rss_mib": 80.0},
    }


def test_the_first_run_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    told = list(history.compared(found(0.1), tmp_path / "none"))
    assert told == ["      file   12,345/s  0.100 of the reference"]


def test_a_run_is_compared_with_the_last_one_of_the_same_kind_and_size(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    for earlier in (found(0.05), found(0.08), found(0.3, events=5), found(0.9, name="hec")):
        history.append(earlier, file)
    (told,) = history.compared(found(0.1), file)
    assert told.endswith("0.100 of the reference  last time 0.080 (+25 %)")


def test_what_is_a_sixth_slower_is_called_worse(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    history.append(found(0.1), file)
    (a_little,) = history.compared(found(0.09), file)
    (much,) = history.compared(found(0.08), file)
    assert "WORSE" not in a_little
    assert much.endswith("WORSE")


def test_only_what_stands_beside_the_reference_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    history.append(found(0.1), file)
    line = json.loads(file.read_text())
    assert list(line) == ["at", "commit", "machine", "events", "figures"]
    assert list(line["figures"]) == ["file"]
