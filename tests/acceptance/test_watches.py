"""The installed daemon tells what it watches, once, over a crash; and changes how much it logs."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest

from tests.acceptance.command import Forwarder, archived, ended
from tests.acceptance.test_daemon import prepared

pytestmark = pytest.mark.real

QUICK = """
[sinks.archive.redact]
credentials = false
[watch]
interval = "100ms"
learn = "0s"
[heartbeat]
interval = "300ms"
"""


async def until(is_so: Callable[[], bool], forwarder: Forwarder) -> None:
    with anyio.move_on_after(60):
        while not is_so():
            await anyio.sleep(0.05)
        return
    raise AssertionError(forwarder.log[-3000:])


async def test_what_goes_on_is_told_once_over_a_crash_and_verify_takes_it(tmp_path: Path) -> None:
    def told(kind: str) -> int:
        return sum(event["kind"] == f"forwarder.{kind}" for event in archived(tmp_path))

    def said(name: str) -> bool:
        return f'"event":"{name}"' in forwarder.log

    async with prepared(tmp_path, more=QUICK) as (forwarder, simulator, server):
        simulator.soteri = {"version": "4.17.0", "enabled": False}
        with forwarder.daemon() as running:
            await until(lambda: told("app_disabled") > 0 and told("heartbeat") > 0, forwarder)
            async with httpx.AsyncClient(base_url=server, trust_env=False) as client:
                metrics = (await client.get("/metrics")).text
            assert 'forwarder_conditions{kind="forwarder.app_disabled",part="sources.b' in metrics
            assert "forwarder_audit_coverage_level" in metrics
            assert not said("poll.finished")
            running.send_signal(signal.SIGUSR1)
            await until(lambda: said("poll.finished"), forwarder)
            running.send_signal(signal.SIGUSR2)
            await until(lambda: forwarder.log.count("log.level_changed") == 2, forwarder)
            running.kill()
        status = json.loads((await forwarder.run("status", "--json")).stdout)
        assert [each["kind"] for each in status["conditions"]] == ["forwarder.app_disabled"]
        assert status["sources"][0]["audit"]["app_enabled"] is False
        simulator.soteri = {"version": "4.17.0", "enabled": True}
        with forwarder.daemon() as running:
            await until(lambda: told("app_enabled") > 0, forwarder)
            beats = told("heartbeat")
            await until(lambda: told("heartbeat") > beats + 1, forwarder)
            running.send_signal(signal.SIGTERM)
            assert await ended(running, within=25) == 0, forwarder.log
    assert (told("app_disabled"), told("app_enabled")) == (1, 1)
    last = [event for event in archived(tmp_path) if event["kind"] == "forwarder.heartbeat"][-1]
    facts = {each["name"]: each["value"] for each in last["attributes"]}
    words = ["--head", f"bitbucket={facts['sources.bitbucket.chain']}"]
    words += ["--head", f"forwarder={facts['forwarder.chain']}"]
    done = await forwarder.run_bare("verify", str(tmp_path / "audit.jsonl"), *words)
    assert done.returncode == 0, done.stdout.decode()
