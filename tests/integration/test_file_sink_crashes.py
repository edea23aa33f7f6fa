"""The file sink is exact, whenever its process is killed: see crashing_file_sink.py."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a killed process needs no disk, and fsync none."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as made:
        yield Path(made)


def play(story: str, folder: Path) -> dict:
    command = [sys.executable, "-m", "tests.integration.crashing_file_sink", story, str(folder)]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.parametrize("story", ["rotation", "logrotate", "full-disk"])
def test_a_kill_at_any_system_call_neither_loses_nor_doubles_an_event(story, folder):
    told = play(story, folder)
    assert told["wrong"] == []
    assert told["kills"] >= 50  # or the calls are not seen any more


@pytest.mark.real
@pytest.mark.timeout(300)
def test_kills_at_random_moments_under_load_neither_lose_nor_double_an_event(folder):
    told = play("random", folder)
    assert told["wrong"] == []
    assert told["kills"] >= 3
