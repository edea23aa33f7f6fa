"""What a destination holds, asked back: the file with its parts, CloudWatch Logs, Splunk."""

import gzip
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from forwarder.errors import AccessError, PermanentError, TransientError
from forwarder.formats.json import JsonFormat
from forwarder.formats.raw import RawFormat
from forwarder.interfaces import Asks, Format
from forwarder.model import Event
from forwarder.sinks.cloudwatch_logs import CloudWatchLogsConfig
from forwarder.sinks.cloudwatch_logs.sink import CloudWatchLogsSink
from forwarder.sinks.file import FileConfig, FileSink
from forwarder.sinks.file.reading import opened
from forwarder.sinks.file.rotation import parts
from forwarder.sinks.splunk_hec import SplunkHecConfig
from forwarder.sinks.splunk_hec.sink import HecSink
from forwarder.sinks.syslog import SyslogConfig
from tests.contract.sinks.cloudwatch_logs import alone
from tests.fakes.events import batch, event
from tests.fakes.memory import FakeMemory
from tests.receivers.cloudwatch import REGION, CloudWatch, Page, cloudwatch
from tests.receivers.hec import Hec, served
from tests.receivers.splunkd import Splunkd

NOW = datetime.now(UTC).replace(microsecond=0)
START, END = NOW - timedelta(minutes=10), NOW - timedelta(minutes=5)


def at(number: int, moment: datetime) -> Event:
    milliseconds = int(moment.timestamp() * 1000)
    event_id = f"{milliseconds:012x}{number:020x}"
    return event(number, event_id=event_id, occurred_at=moment)


WITHIN = [at(1, START), at(2, START + timedelta(minutes=1)), at(3, END - timedelta(milliseconds=1))]
WITHOUT = [at(4, START - timedelta(milliseconds=1)), at(5, END), at(6, NOW)]
EVENTS = [WITHOUT[0], *WITHIN, *WITHOUT[1:]]
IDS = sorted(each.event_id for each in WITHIN)


async def held(sink: Asks, since: datetime = START, until: datetime = END) -> list[str]:
    assert isinstance(sink, Asks)
    return sorted([each async for each in sink.holds(since, until)])


# -- file


def archive(
    folder: Path, *, memory: FakeMemory | None = None, line_format: Format | None = None
) -> object:
    config = FileConfig.model_validate(
        {"type": "file", "path": folder / "audit.jsonl", "rotate": {"size": "1KiB"}}
    )
    chosen = line_format or JsonFormat()
    return config.open(name="archive", format=chosen, memory=memory or FakeMemory())


async def written(sink: FileSink, memory: FakeMemory, *events: Event) -> None:
    for each in events:
        receipt = await sink.send(batch(each))
        assert receipt.memo is not None
        await memory.save(receipt.memo)


async def test_a_file_is_read_with_its_rotated_and_compressed_parts(tmp_path: Path):
    memory = FakeMemory()
    packed = gzip.compress(JsonFormat().encode(WITHIN[2]) + b"\n")
    (tmp_path / "audit-000001-20260102T030405Z.jsonl.gz").write_bytes(packed)
    async with archive(tmp_path, memory=memory) as sink:
        await written(sink, memory, *EVENTS, WITHIN[0])
        assert await held(sink) == sorted([*IDS, WITHIN[0].event_id, WITHIN[2].event_id])
    assert len(parts(tmp_path / "audit.jsonl")) == 7


async def test_a_file_that_was_never_written_holds_nothing(tmp_path: Path):
    async with archive(tmp_path / "missing") as sink:
        assert await held(sink) == []


async def test_a_file_of_raw_records_says_that_it_cannot_be_asked(tmp_path: Path):
    memory = FakeMemory()
    async with archive(tmp_path, memory=memory, line_format=RawFormat()) as sink:
        await written(sink, memory, *WITHIN)
        with pytest.raises(PermanentError, match="carry no event ids"):
            await held(sink)


async def test_a_compressed_part_that_is_damaged_is_not_taken_for_a_whole_one(tmp_path: Path):
    packed = gzip.compress(JsonFormat().encode(WITHIN[0]) * 100)
    (tmp_path / "audit-000001-20260102T030405Z.jsonl.gz").write_bytes(packed[:-20])
    async with archive(tmp_path) as sink:
        with pytest.raises(TransientError, match="cannot be read"):
            await held(sink)


async def test_parts_that_are_older_than_the_range_are_not_read(tmp_path: Path):
    part = tmp_path / "audit-000001-20200102T030405Z.jsonl.gz"
    part.write_bytes(b"no gzip at all")
    old = time.time() - 3 * 86400
    os.utime(part, (old, old))
    async with archive(tmp_path) as sink:
        assert await held(sink) == []


def test_a_rotation_while_the_parts_are_read_neither_hides_nor_doubles_a_line(tmp_path: Path):
    path = tmp_path / "audit.jsonl"

    def part(number: int, suffix: str = "") -> Path:
        return tmp_path / f"audit-{number:06}-20260102T030405Z.jsonl{suffix}"

    part(1).write_bytes(b"1\n")
    part(2).write_bytes(b"2\n")
    path.write_bytes(b"3\n")
    found = []
    for opened_part in opened(path):
        found.append(opened_part.lines.read())
        if len(found) == 1:  # the second is compressed and the file rotated, before they are read
            part(2, ".gz").write_bytes(gzip.compress(b"2\n"))
            part(2).unlink()
            path.rename(part(3))
            path.write_bytes(b"4\n")
    assert found == [b"1\n", b"2\n", b"3\n", b"4\n"]


# -- CloudWatch Logs


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    alone(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFORWARDER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the secret")
    with cloudwatch() as running:
        yield running


@asynccontextmanager
async def stream(
    receiver: CloudWatch, *, line_format: Format | None = None, **more: object
) -> AsyncIterator[CloudWatchLogsSink]:
    fields = {"log_group": "/soteri/audit", "region": REGION, "endpoint_url": receiver.url, **more}
    config = CloudWatchLogsConfig.model_validate({"type": "cloudwatch_logs", **fields})
    chosen = line_format or JsonFormat()
    async with config.open(name="aws", format=chosen, memory=FakeMemory()) as sink:
        yield sink


@pytest.mark.real
async def test_cloudwatch_is_asked_page_by_page_for_the_range_alone(receiver: CloudWatch):
    receiver.page = 1
    async with stream(receiver) as sink:
        await sink.send(batch(*EVENTS))
        await sink.send(batch(WITHIN[1]))
        assert await held(sink) == sorted([*IDS, WITHIN[1].event_id])
    assert receiver.counted("FilterLogEvents") > 4


@pytest.mark.real
async def test_events_that_were_dated_anew_are_found_too(receiver: CloudWatch):
    old = at(7, NOW - timedelta(days=20))
    async with stream(receiver, stale="restamp") as sink:
        assert (await sink.send(batch(old, WITHIN[0]))).rejections == ()
        since = NOW - timedelta(days=21)
        assert await held(sink, since) == sorted([old.event_id, WITHIN[0].event_id])
        assert await held(sink, since, NOW - timedelta(days=1)) == [old.event_id]


@pytest.mark.real
async def test_a_log_group_that_is_missing_holds_nothing(receiver: CloudWatch):
    async with stream(receiver) as sink:
        assert await held(sink) == []


@pytest.mark.real
async def test_a_stream_of_raw_records_says_that_it_cannot_be_asked(receiver: CloudWatch):
    async with stream(receiver, line_format=RawFormat()) as sink:
        await sink.send(batch(*WITHIN))
        with pytest.raises(PermanentError, match="carry no event ids"):
            await held(sink)


@pytest.mark.real
async def test_a_role_that_may_not_read_is_an_access_error(receiver: CloudWatch):
    async with stream(receiver) as sink:
        await sink.send(batch(*WITHIN))
        receiver.denied.add("FilterLogEvents")
        with pytest.raises(AccessError, match="FilterLogEvents"):
            await held(sink)


@pytest.mark.real
async def test_a_proxys_page_is_not_taken_for_an_empty_stream(receiver: CloudWatch):
    async with stream(receiver) as sink:
        receiver.fault = Page(200)
        with pytest.raises((AccessError, TransientError)):
            await held(sink)


# -- Splunk


@asynccontextmanager
async def indexer(
    *,
    certificate: trustme.LeafCert | None = None,
    ca_file: Path | None = None,
    **management: object,
) -> AsyncIterator[tuple[HecSink, Splunkd]]:
    splunkd = Splunkd(Hec())
    tls = {}
    if certificate is not None:
        private = certificate.private_key_and_cert_chain_pem
        file = Path(str(ca_file) + ".server.pem")
        private.write_to_path(file)
        tls = {"ssl_certfile": str(file)}
    async with served(splunkd.hec) as url, served(splunkd, **tls) as asked:
        options = {"url": asked, "token": splunkd.token, "tls": {"ca_file": ca_file}, **management}
        config = SplunkHecConfig.model_validate(
            {
                "type": "splunk_hec",
                "url": url,
                "token": splunkd.hec.token,
                "index": "security",
                "source": 'our "own" forwarder',
                "ack": False,
                "management": options,
            }
        )
        async with config.open(name="splunk", format=JsonFormat(), memory=FakeMemory()) as sink:
            yield sink, splunkd


async def test_splunk_is_asked_for_the_ids_of_a_range_and_how_often_each_is_there():
    async with indexer() as (sink, splunkd):
        await sink.send(batch(*EVENTS))
        await sink.send(batch(WITHIN[1]))
        assert await held(sink) == sorted([*IDS, WITHIN[1].event_id])
    assert len(splunkd.searches) == 1


async def test_splunk_that_has_indexed_nothing_holds_nothing():
    async with indexer() as (sink, _):
        assert await held(sink) == []


async def test_the_certificate_of_the_management_port_is_verified(tmp_path: Path):
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    good = authority.issue_cert("127.0.0.1")
    async with indexer(certificate=good, ca_file=ca_file) as (sink, _):
        await sink.send(batch(*WITHIN))
        assert await held(sink) == IDS
    stranger = trustme.CA().issue_cert("127.0.0.1")
    async with indexer(certificate=stranger, ca_file=ca_file) as (sink, splunkd):
        with pytest.raises(TransientError, match="CERTIFICATE_VERIFY_FAILED"):
            await held(sink)
        assert splunkd.searches == []


async def test_a_wrong_management_token_is_an_access_error_without_the_token():
    async with indexer(token="wrong") as (sink, _):
        with pytest.raises(AccessError, match="HTTP 401") as caught:
            await held(sink)
    assert "wrong" not in str(caught.value)


async def test_a_search_that_fails_is_not_taken_for_an_empty_index():
    async with indexer() as (sink, splunkd):
        await sink.send(batch(*WITHIN))
        splunkd.messages = [{"type": "FATAL", "text": "Search peer idx1 is down"}]
        with pytest.raises(TransientError, match="Search peer idx1 is down"):
            await held(sink)


@pytest.mark.parametrize(
    ("status", "kind"), [(503, TransientError), (404, AccessError), (200, AccessError)]
)
async def test_what_is_not_splunk_is_not_taken_for_an_empty_index(status: int, kind: type):
    async with indexer() as (sink, splunkd):
        splunkd.fault = status, "<html>Please log in</html>"
        with pytest.raises(kind):
            await held(sink)


async def test_without_a_management_port_splunk_says_that_it_cannot_be_asked():
    async with indexer(url=None) as (sink, _):
        with pytest.raises(PermanentError, match="without its management port") as caught:
            await held(sink)
    assert "management.url" in caught.value.remedy


# -- syslog


async def test_syslog_cannot_be_asked():
    config = SyslogConfig.model_validate({"type": "syslog", "address": "tcp://127.0.0.1:9"})
    async with config.open(name="siem", format=JsonFormat(), memory=FakeMemory()) as sink:
        assert not isinstance(sink, Asks)
