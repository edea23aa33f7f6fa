"""docs/guarantees.md names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_guarantees_name_is_there_and_each_promise_names_one():
    page = (ROOT / "docs" / "guarantees.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)\(", sources, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named - there == set()
    promised = page.partition("## What is not promised")[0]
    rows = [
        line for line in promised.splitlines() if line.startswith("| ") and "held by" not in line
    ]
    assert len(rows) > 15
    assert [row for row in rows if "`test_" not in row] == [
        row for row in rows if "nothing more can be promised" in row
    ]
