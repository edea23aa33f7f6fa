"""SIGKILL at random moments, with every kind of sink at once; `make soak` kills for longer."""

from pathlib import Path

import pytest

from tests.soak import scene

pytestmark = pytest.mark.real

KILLS = 50
RECEIVER_KILLS = 10


@pytest.mark.timeout(600)
async def test_fifty_kills_and_ten_of_each_rsyslogd_lose_nothing_anywhere(tmp_path: Path) -> None:
    async with scene(tmp_path, seed=50, warm=True) as played:
        for number in range(KILLS):
            await played.crash(receivers_too=number % (KILLS // RECEIVER_KILLS) == 0)
        report = await played.finish()
    assert (report.kills, report.receiver_kills) == (KILLS, RECEIVER_KILLS)
    assert report.exit_code == 0
    assert report.strangers == []
    assert {name for name, figures in report.sinks.items() if figures.missing} == set()
    assert {name for name, figures in report.sinks.items() if not figures.is_well} == set(), report
    assert report.sinks["file"].held == report.events > KILLS * 10
