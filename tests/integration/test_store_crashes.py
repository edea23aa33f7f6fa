"""Killed at any moment, the outbox holds what it had promised, and all its parts agree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 20


@pytest.mark.real
@pytest.mark.timeout(300)
def test_events_checkpoint_position_and_memo_agree_after_every_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.crashing_store"]
    done = subprocess.run(
        [*command, str(tmp_path / "outbox.db"), str(KILLS)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kills"] == KILLS
