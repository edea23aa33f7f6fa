"""Bitbucket, the store and every destination compared, with a real store and real receivers."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from forwarder.app import run_once
from forwarder.app.trial import deliver, synthetic
from forwarder.comparison import Side
from forwarder.config import Config, load
from forwarder.errors import AccessError
from forwarder.model import EventFilter
from forwarder.normalizers.soteri import CATEGORY
from forwarder.reconciliation import Reconciler, Reconciliation
from forwarder.simulator import Simulator, SimulatorOptions, serve
from tests.acceptance.command import lines
from tests.contract.sinks.cloudwatch_logs import alone
from tests.fakes.events import event
from tests.receivers.cloudwatch import REGION, CloudWatch, cloudwatch
from tests.receivers.hec import Hec, served
from tests.receivers.splunkd import Splunkd

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "{start_at}"
page_size = 50
[store]
url = "sqlite:///{folder}/forwarder.db"
[server]
listen = ""
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
rotate = {{ size = "20KiB", compress = false }}
batch = {{ events = 10 }}
"""
CLOUDWATCH = """
[sinks.cloudwatch]
type = "cloudwatch_logs"
log_group = "/soteri/audit"
region = "{region}"
endpoint_url = "{url}"
stale = "restamp"
"""
SPLUNK = """
[sinks.splunk]
type = "splunk_hec"
url = "{hec}"
token = "{hec_token}"
index = "security"
ack = false
management = {{ url = "{management}", token = "{token}" }}
"""
FEW = """
[sinks.few]
type = "file"
path = "{}/few.jsonl"
include = {{ kinds = ["none.such"] }}
"""


FOUND = b"Matched text"  # in the simulator's events about reviewed findings


@dataclass
class World:
    """A Bitbucket, a configuration, and what was forwarded of it."""

    folder: Path
    simulator: Simulator
    config: Config

    def add(self, more: str) -> None:
        """Configure another sink."""
        path = self.folder / "config.toml"
        path.write_text(path.read_text() + more)
        self.config = load(path, {})

    @property
    def first_part(self) -> Path:
        return min(self.folder.glob("audit-*.jsonl"))

    async def forward(self) -> None:
        owed, _ = await run_once(self.config, deadline=60)
        assert owed == []

    async def reconcile(
        self, *sinks: str, repair: bool = False, **ago: float
    ) -> tuple[Reconciliation, dict[str, Side]]:
        reconciler = Reconciler(self.config, repair=repair)
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        since = until - timedelta(**(ago or {"days": 400}))
        found = await reconciler.run(since, until, list(sinks or self.config.sinks))
        assert reconciler.failures == []
        return found, {side.name: side for side in found.sides}

    def truth(self) -> int:
        return len(self.simulator.truth(categories=[CATEGORY]))

    def archived(self) -> list[str]:
        found = sorted(self.folder.glob("audit*.jsonl"))
        return [line["event_id"] for path in found for line in lines(path)]

    def forget(self, *event_ids: str) -> None:
        """Take events out of the store, as a restored backup would lack them."""
        with closing(sqlite3.connect(self.folder / "forwarder.db")) as store, store:
            for event_id in event_ids:
                store.execute("delete from events where event_id = ?", [event_id])


@asynccontextmanager
async def world(
    folder: Path, *, more: str = "", start_at: str = "beginning", history: int = 150
) -> AsyncIterator[World]:
    simulator = Simulator(SimulatorOptions(history=history))
    async with serve(simulator) as bitbucket:
        text = CONFIG.format(
            bitbucket=bitbucket, token=simulator.options.token, folder=folder, start_at=start_at
        )
        path = folder / "config.toml"
        path.write_text(text + more)
        path.chmod(0o600)
        yield World(folder, simulator, load(path, {}))


async def test_what_was_forwarded_whole_lacks_nothing_anywhere(tmp_path: Path):
    async with world(tmp_path) as here:
        await here.forward()
        trial = synthetic(here.config.catalogue.kinds["hook.skipped"], datetime.now(UTC))
        assert (await deliver(here.config, "archive", trial, within=20)).delivered
        assert trial.event_id in here.archived()
        found, sides = await here.reconcile()
        assert not found.missing
        assert sides["store"] == Side(
            name="store", kind="store", expected=here.truth(), held=here.truth()
        )
        assert sides["archive"] == Side(
            name="archive", kind="sink", expected=here.truth(), held=here.truth()
        )
        assert here.truth() > 20


async def test_lines_that_a_file_lacks_has_twice_or_has_from_elsewhere_are_named(tmp_path: Path):
    async with world(tmp_path) as here:
        await here.forward()
        part = here.first_part
        written = part.read_bytes().splitlines(keepends=True)
        ids = [line["event_id"] for line in lines(part)]
        strange = ids[0][:12] + "f" * 20
        forged = written[0].replace(ids[0].encode(), strange.encode())
        part.write_bytes(b"".join([written[0], forged, *written[2:], written[3]]))
        found, sides = await here.reconcile()
    assert found.missing
    side = sides["archive"]
    assert (side.missing, side.extra, side.doubled) == ((ids[1],), (strange,), (ids[3],))


async def test_what_a_file_lacks_is_sent_again_and_nothing_else(tmp_path: Path):
    async with world(tmp_path) as here:
        await here.forward()
        part = here.first_part
        before = here.archived()
        part.write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[3:]))
        found, sides = await here.reconcile(repair=True)
        assert len(sides["archive"].missing) == sides["archive"].repaired == 3
        assert not found.missing
        _, sides = await here.reconcile(repair=True)
        assert "being sent again already" in sides["archive"].unrepaired
        await here.forward()
        assert sorted(here.archived()) == sorted(before)
        _, sides = await here.reconcile()
        assert (sides["archive"].missing, sides["archive"].doubled) == ((), ())


async def test_what_the_store_lacks_is_stored_and_reaches_the_sinks(tmp_path: Path):
    async with world(tmp_path) as here:
        await here.forward()
        files = sorted(here.folder.glob("audit*.jsonl"))
        part = next(file for file in files if FOUND in file.read_bytes())
        held = {json.loads(line)["event_id"]: line for line in part.read_bytes().splitlines()}
        telling = next(each for each, line in held.items() if FOUND in line)
        lost = [telling, *[each for each in held if each != telling][:2]]
        kept = [
            line
            for line in part.read_bytes().splitlines(keepends=True)
            if not any(each.encode() in line for each in lost)
        ]
        part.write_bytes(b"".join(kept))
        here.forget(*lost)
        async with here.config.store.open() as outbox:
            mark = await outbox.checkpoint("bitbucket")
        found, sides = await here.reconcile()
        assert found.missing
        assert sides["store"].missing == sides["archive"].missing == tuple(sorted(lost))
        found, sides = await here.reconcile(repair=True)
        assert sides["store"].repaired == sides["archive"].repaired == 3
        assert not found.missing
        async with here.config.store.open() as outbox:
            assert await outbox.checkpoint("bitbucket") == mark
            wanted = EventFilter(event_ids=(telling,))
            ((_, again),) = [stored async for stored in outbox.events(wanted)]
            assert b"[redacted]" in msgspec.json.encode(again)
            assert b"EXAMPLE-NOT-A-SECRET" not in msgspec.json.encode(again)
        await here.forward()
        assert sorted(here.archived()) == sorted(set(here.archived()))
        found, sides = await here.reconcile()
        assert not found.missing
        assert sides["store"].held == sides["archive"].held == here.truth()


async def test_without_repair_nothing_is_changed(tmp_path: Path):
    async with world(tmp_path) as here:
        await here.forward()
        here.forget(here.archived()[0])
        for _ in range(2):
            found, sides = await here.reconcile()
            assert found.missing
            assert sides["store"].missing == (here.archived()[0],)
            assert sides["store"].repaired == 0


async def test_events_that_bitbucket_no_longer_shows_are_extra_in_the_store_and_not_at_sinks(
    tmp_path: Path,
):
    async with world(tmp_path) as here:
        await here.forward()
        async with world(tmp_path, history=0) as empty:
            found, sides = await empty.reconcile()
    assert not found.missing
    assert len(sides["store"].extra) == here.truth()
    assert sides["archive"].extra == ()


async def test_what_is_past_the_stores_retention_is_forgotten_and_not_missing(tmp_path: Path):
    async with world(tmp_path) as here:
        await here.forward()
        here.forget(*here.archived())
        short = here.config.store.model_copy(update={"retention": 1.0})
        here.config = replace(here.config, store=short)
        found, sides = await here.reconcile(repair=True)
    assert not found.missing
    assert sides["store"].forgotten == here.truth()
    assert sides["archive"].held == here.truth()


async def test_what_the_source_was_not_to_read_or_has_not_read_yet_is_not_missing(tmp_path: Path):
    async with world(tmp_path, start_at="now") as here:
        await here.forward()
        here.simulator.emit_any(10)
        found, sides = await here.reconcile()
    assert not found.missing
    assert sides["store"].expected == 0
    assert found.unread[0].startswith("bitbucket: read up to ")


async def test_what_was_renamed_since_is_asked_for_by_the_id_that_reading_knows(tmp_path: Path):
    async with world(tmp_path) as here:
        path = here.folder / "config.toml"
        path.write_text(path.read_text().replace("page_size", 'projects = ["OPS"]\npage_size'))
        here.config = load(path, {})
        await here.forward()
        known = here.simulator.catalogue
        renamed = tuple(
            replace(one, key="INFRA") if one.key == "OPS" else one for one in known.projects
        )
        here.simulator.catalogue = replace(known, projects=renamed)
        found, sides = await here.reconcile()
        assert not found.missing
        assert sides["store"].held == sides["store"].expected > 0


async def test_what_still_waits_is_counted_apart(tmp_path: Path):
    async with world(tmp_path) as here:
        await here.forward()
        here.add(f'[sinks.late]\ntype = "file"\npath = "{tmp_path}/late.jsonl"\n')
        found, sides = await here.reconcile("late")
        assert len(sides["late"].waiting) == sides["store"].held > 20
        assert not found.missing


async def test_what_a_sink_does_not_want_is_counted_apart(tmp_path: Path):
    more = FEW
    async with world(tmp_path, more=more.format(tmp_path)) as here:
        await here.forward()
        found, sides = await here.reconcile("few")
        assert not found.missing
        assert len(sides["few"].unwanted) == sides["store"].held > 20


async def test_what_a_sink_refused_for_good_is_counted_apart(tmp_path: Path):
    hec = Hec()
    splunkd = Splunkd(hec)
    async with served(hec) as url, served(splunkd) as management:
        more = SPLUNK.format(
            hec=url, hec_token=hec.token, management=management, token=splunkd.token
        )
        async with world(tmp_path, more=more) as here:
            await here.forward()
            stranger = event(1)
            hec.poisoned[stranger.event_id] = 12
            async with here.config.store.open() as outbox:
                await outbox.append("bitbucket", [stranger], None)
            await here.forward()
            _, sides = await here.reconcile("splunk")
    assert sides["splunk"].buried == (stranger.event_id,)
    assert sides["splunk"].missing == ()


@pytest.mark.real
async def test_cloudwatch_and_splunk_are_compared_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    alone(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFORWARDER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the secret")
    splunkd = Splunkd(Hec())
    with cloudwatch() as aws:
        async with served(splunkd.hec) as hec, served(splunkd) as management:
            more = CLOUDWATCH.format(region=REGION, url=aws.url) + SPLUNK.format(
                hec=hec,
                hec_token=splunkd.hec.token,
                management=management,
                token=splunkd.token,
            )
            async with world(tmp_path, more=more) as here:
                await _mended(here, aws, splunkd)


async def _mended(here: World, aws: CloudWatch, splunkd: Splunkd) -> None:
    aws.page = 7
    await here.forward()
    found, sides = await here.reconcile()
    assert not found.missing
    assert sides["cloudwatch"].held == sides["splunk"].held == here.truth()

    lost = splunkd.hec.indexed.pop(4)["fields"]["event_id"]
    splunkd.hec.indexed.append(splunkd.hec.indexed[0])
    found, sides = await here.reconcile("splunk", repair=True)
    assert sides["splunk"].missing == (lost,)
    assert sides["splunk"].doubled == (splunkd.hec.indexed[0]["fields"]["event_id"],)
    assert sides["splunk"].repaired == 1
    await here.forward()
    _, sides = await here.reconcile("splunk")
    assert sides["splunk"].missing == ()

    splunkd.indexes = {"main"}  # the token's user may not search there: Splunk then finds nothing
    found, sides = await here.reconcile("splunk", repair=True)
    assert found.missing
    assert "holds nothing of that time at all" in sides["splunk"].unrepaired
    assert sides["splunk"].repaired == 0

    here.add('[sinks.siem]\ntype = "syslog"\naddress = "udp://127.0.0.1:9"\n')
    _, sides = await here.reconcile("siem")
    assert "type syslog cannot be asked" in sides["siem"].unasked


async def test_a_destination_that_does_not_let_us_in_is_named_and_the_others_are_compared(
    tmp_path: Path,
):
    splunkd = Splunkd(Hec())
    async with served(splunkd.hec) as hec, served(splunkd) as management:
        more = SPLUNK.format(
            hec=hec, hec_token=splunkd.hec.token, management=management, token="wrong"
        )
        async with world(tmp_path, more=more) as here:
            await here.forward()
            reconciler = Reconciler(here.config, repair=False)
            until = datetime.now(UTC).replace(microsecond=0)
            found = await reconciler.run(until - timedelta(days=400), until, ["splunk", "archive"])
    assert [type(error) for error in reconciler.failures] == [AccessError]
    sides = {side.name: side for side in found.sides}
    assert "HTTP 401" in sides["splunk"].unasked
    assert sides["archive"].held > 20
