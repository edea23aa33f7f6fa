"""The file sink on a real file system that is full, or read-only."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def on_a_mount(story: str, folder: Path) -> dict:
    """Play `story` where mounts are nobody else's; see file_sink_on_a_mount.py."""
    alone = ["unshare", "--mount"]
    if os.geteuid() != 0:
        alone += ["--user", "--map-root-user"]
    play = [sys.executable, "-m", "tests.integration.file_sink_on_a_mount", story, str(folder)]
    done = subprocess.run(
        [*alone, *play], check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"needs the right to mount in a namespace: {done.stderr}"
    return json.loads(done.stdout)


@pytest.mark.real
def test_a_full_disk_holds_the_batch_leaves_no_torn_line_and_is_resumed_from(tmp_path):
    told = on_a_mount("full", tmp_path)
    assert told["refused"][0] == "TransientError"
    assert "No space left" in told["refused"][1]
    assert "free space" in told["refused"][2]
    assert told["probe"] == told["refused"]
    assert "is nearly full: 0 MiB are free" in told["concerns"][0]
    assert not told["torn"]
    assert told["lines"] == told["settled"] > 0
    assert told["exact"]


@pytest.mark.real
def test_a_read_only_file_system_holds_everything_until_it_is_writable(tmp_path):
    told = on_a_mount("read-only", tmp_path)
    for refused in (told["probe"], told["refused"]):
        assert refused[0] == "AccessError"
        assert "Read-only file system" in refused[1]
        assert "writable" in refused[2]
    assert told["lines"] == 5
