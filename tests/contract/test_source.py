"""The Source contract: every source passes it, the fake included."""

import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import httpx
import msgspec
import pytest

from forwarder.config.tables import CATALOGUE
from forwarder.errors import AccessError, ForwarderError, TransientError
from forwarder.interfaces import Source
from forwarder.model import Checkpoint, Page
from forwarder.simulator import HandClock, Simulator, SimulatorOptions
from forwarder.simulator.node_files import line_of
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.sources.bitbucket_audit.clock import ServerClock
from forwarder.sources.bitbucket_audit_log import BitbucketAuditLogConfig
from forwarder.sources.bitbucket_audit_log.disk import Disk, LogFile
from forwarder.sources.bitbucket_repository_audit import BitbucketRepositoryAuditConfig
from tests.fakes.audit_files import NodeFolder
from tests.fakes.source import FakeSource, make_page


@dataclass
class Upstream:
    """A source, and the log behind it. `total` is how many records that holds.

    `add` writes one more; `fail` makes the request after `requests` good ones go wrong, once.
    """

    source: Source
    total: Callable[[], int]
    add: Callable[[], None]
    fail: Callable[[type[ForwarderError], int], None]


@asynccontextmanager
async def bitbucket() -> AsyncIterator[Upstream]:
    clock = HandClock()
    simulator = Simulator(clock=clock)
    for second in range(40):
        simulator.emit(at=clock.now() - timedelta(seconds=2 * second))
    config = BitbucketAuditConfig.model_validate(
        {
            "type": "bitbucket_audit",
            "url": "https://bitbucket.example.com",
            "token": simulator.options.token,
            "start_at": "beginning",
            "page_size": 3,
        }
    )

    def add() -> None:
        clock.advance(1)
        simulator.emit()

    def fail(error: type[ForwarderError], requests: int) -> None:
        fault = "unauthorized" if error is AccessError else "http_503"
        simulator.faults.next[:] = [*[None] * requests, fault]

    def total() -> int:
        return len(simulator.truth(categories=config.categories))

    def now() -> float:
        return clock.elapsed_ms() / 1000

    async with config.open(
        name="bitbucket",
        transport=httpx.ASGITransport(simulator.app),
        clock=ServerClock(wall=now, steady=now),
    ) as source:
        yield Upstream(source, total, add, fail)


@asynccontextmanager
async def legacy() -> AsyncIterator[Upstream]:
    clock = HandClock()
    simulator = Simulator(SimulatorOptions(version="7.21.0"), clock=clock)
    touched = {"affectedObjects": [{"type": "PROJECT", "name": "SEC", "id": "1"}]}
    for second in range(40):
        simulator.emit(touched, at=clock.now() - timedelta(seconds=2 * second))
    config = BitbucketRepositoryAuditConfig.model_validate(
        {
            "type": "bitbucket_repository_audit",
            "url": "https://bitbucket.example.com",
            "token": simulator.options.token,
            "projects": ["SEC"],
            "start_at": "beginning",
            "page_size": 3,
        }
    )

    def add() -> None:
        clock.advance(1)
        simulator.emit(touched)

    def fail(error: type[ForwarderError], requests: int) -> None:
        fault = "unauthorized" if error is AccessError else "http_503"
        simulator.faults.next[:] = [*[None] * requests, fault]

    def now() -> float:
        return clock.elapsed_ms() / 1000

    async with config.open(
        name="old",
        transport=httpx.ASGITransport(simulator.app),
        clock=ServerClock(wall=now, steady=now),
    ) as source:
        yield Upstream(source, lambda: len(simulator.log.rows), add, fail)


class BrittleDisk(Disk):
    """A disk on which the look after `good` good ones fails, once."""

    def __init__(self) -> None:
        self.good = 0
        self.failure: OSError | None = None

    def find(self, pattern: str) -> list[LogFile]:
        self._wear()
        return super().find(pattern)

    @contextmanager
    def open(self, file: LogFile) -> Iterator[BinaryIO]:
        self._wear()
        with super().open(file) as contents:
            yield contents

    def _wear(self) -> None:
        if self.failure and self.good == 0:
            failure, self.failure = self.failure, None
            raise failure
        self.good -= 1


@asynccontextmanager
async def files(folder: Path) -> AsyncIterator[Upstream]:
    disk = BrittleDisk()
    nodes = [NodeFolder(folder / name) for name in ("1", "2")]
    simulator = Simulator(clock=HandClock())
    lines: list[bytes] = []

    def add() -> None:
        simulator.clock.advance(1)  # type: ignore[attr-defined]
        number = len(lines)
        lines.append(line_of(simulator.emit({"node": f"node-{number % 2}"})))
        nodes[number % 2].append(lines[-1])
        if number % 2:
            for node in nodes:
                node.rotate()

    for _ in range(41):
        add()
    config = BitbucketAuditLogConfig.model_validate(
        {
            "type": "bitbucket_audit_log",
            "paths": [str(node.path) for node in nodes],
            "start_at": "beginning",
            "page_size": 3,
        }
    )

    def fail(error: type[ForwarderError], requests: int) -> None:
        number = errno.EACCES if error is AccessError else errno.EIO
        disk.good, disk.failure = requests, OSError(number, os.strerror(number))

    async with config.open(name="files", disk=disk) as source:
        yield Upstream(source, lambda: len(lines), add, fail)


@asynccontextmanager
async def fake() -> AsyncIterator[Upstream]:
    source = FakeSource(*(make_page(2 * number, 2 * number + 1) for number in range(20)))

    def add() -> None:
        source.script.append(make_page(1000 + len(source.script)))

    def fail(error: type[ForwarderError], requests: int) -> None:
        source.script.insert(min(requests, len(source.script)), error("as told"))

    def total() -> int:
        return sum(len(step.records) for step in source.script if isinstance(step, Page))

    yield Upstream(source, total, add, fail)


SOURCES: dict[str, Callable[[Path], AbstractAsyncContextManager[Upstream]]] = {
    "bitbucket_audit": lambda _: bitbucket(),
    "bitbucket_audit_log": files,
    "bitbucket_repository_audit": lambda _: legacy(),
    "fake": lambda _: fake(),
}


def test_every_source_of_the_catalogue_is_here() -> None:
    assert set(SOURCES) == {*CATALOGUE["sources"], "fake"}


@pytest.fixture(params=SOURCES)
async def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Upstream]:
    async with SOURCES[request.param](tmp_path) as opened:
        yield opened


class Store:
    """Keeps what an outbox would: ids once, and the last checkpoint in its stored form."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.checkpoint: Checkpoint | None = None
        self.pages: list[Page] = []

    async def take(self, source: Source, *, pages: int | None = None) -> None:
        """Poll once, or until so many pages are stored."""
        taken = 0
        async with aclosing(source.poll(self.checkpoint)) as polled:
            async for page in polled:
                self.pages.append(page)
                self.ids |= {record.event_id for record in page.records}
                self.checkpoint = msgspec.json.decode(
                    msgspec.json.encode(page.checkpoint), type=Checkpoint
                )
                taken += 1
                if taken == pages:
                    return


async def test_a_poll_from_nothing_yields_everything(upstream: Upstream) -> None:
    store = Store()
    await store.take(upstream.source)
    assert len(store.ids) == upstream.total()


async def test_a_page_holds_its_records_oldest_first_each_id_once(upstream: Upstream) -> None:
    store = Store()
    await store.take(upstream.source)
    for page in store.pages:
        times = [record.occurred_at for record in page.records]
        assert times == sorted(times)
        assert len({record.event_id for record in page.records}) == len(page.records)


async def test_an_id_is_32_hexadecimal_digits_that_begin_with_the_time(upstream: Upstream) -> None:
    store = Store()
    await store.take(upstream.source)
    for record in (record for page in store.pages for record in page.records):
        assert len(record.event_id) == 32
        assert int(record.event_id[:12], 16) == int(record.occurred_at.timestamp() * 1000)


async def test_the_original_is_json_on_one_line(upstream: Upstream) -> None:
    store = Store()
    await store.take(upstream.source)
    for record in (record for page in store.pages for record in page.records):
        original = bytes(record.original)
        msgspec.json.decode(original)
        assert b"\n" not in original


async def test_the_mark_never_goes_back(upstream: Upstream) -> None:
    store = Store()
    for _ in range(3):
        await store.take(upstream.source)
        upstream.add()
    marks = [page.checkpoint.mark for page in store.pages]
    assert marks == sorted(marks)


async def test_the_next_poll_finds_what_is_new_and_the_ids_of_the_rest_stay(
    upstream: Upstream,
) -> None:
    store = Store()
    await store.take(upstream.source)
    upstream.add()
    await store.take(upstream.source)
    assert len(store.ids) == upstream.total()


async def test_restarting_at_any_checkpoint_neither_skips_nor_repeats(upstream: Upstream) -> None:
    whole = Store()
    await whole.take(upstream.source)
    for stop in range(1, len(whole.pages) + 1):
        store = Store()
        await store.take(upstream.source, pages=stop)
        await store.take(upstream.source)
        assert store.ids == whole.ids


async def test_a_poll_with_nothing_new_ends(upstream: Upstream) -> None:
    store = Store()
    await store.take(upstream.source)
    before = set(store.ids)
    await store.take(upstream.source)
    assert store.ids == before


@pytest.mark.parametrize("error", [TransientError, AccessError])
@pytest.mark.parametrize("requests", [0, 1, 5, 12])
async def test_an_error_leaves_what_was_yielded_good_and_the_same_poll_works_later(
    upstream: Upstream, error: type[ForwarderError], requests: int
) -> None:
    store = Store()
    upstream.fail(error, requests)
    with pytest.raises(error):
        await store.take(upstream.source)
    assert len(store.ids) < upstream.total()
    await store.take(upstream.source)
    assert len(store.ids) == upstream.total()


async def test_a_probe_says_one_line_and_raises_what_a_poll_would(upstream: Upstream) -> None:
    said = await upstream.source.probe()
    assert said
    assert "\n" not in said
    upstream.fail(AccessError, 0)
    with pytest.raises(AccessError):
        await upstream.source.probe()
