"""Logs: one line an event, tied together from page to receipt, and not the same thing all night."""

import io
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from forwarder.errors import AccessError, TransientError
from forwarder.logs import LogConfig, set_level
from forwarder.options import RetryOptions, SinkOptions, SourceOptions
from forwarder.pipeline.dispatcher import Dispatcher
from forwarder.pipeline.poller import Poller
from forwarder.pipeline.progress import AGAIN, Progress
from forwarder.pipeline.stop import Stop
from tests.fakes.normalized import normalize
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.sink import FakeSink
from tests.fakes.source import FakeSource, make_page


class Log:
    """What was written, as `[log] format = "json"` writes it."""

    def __init__(self, level: str = "info") -> None:
        self._stream = io.StringIO()
        LogConfig.model_validate({"level": level}).apply(self._stream)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def progress(clock: Clock) -> Progress:
    made = Progress("sink", "splunk", RetryOptions(), clock=clock)
    made.succeeded()
    return made


def test_a_log_that_cannot_be_written_ends_nothing():
    with io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True) as full:
        LogConfig().apply(full)
        structlog.get_logger().warning("disk.filled")
        logging.getLogger("library").warning("the same by the other road")
        with pytest.raises(OSError, match="No space left"):
            full.write("a line")


def test_a_name_that_is_not_utf_8_ends_neither_the_log_nor_the_loop_that_failed_for_it() -> None:
    log = Log()
    named = b"/audit/\xff.log".decode(errors="surrogateescape")
    structlog.get_logger().warning("file.found", path=named)
    made = progress(Clock())
    made.failed(OSError(named))
    assert log.named("file.found")[0]["path"] == named
    assert made.error.encode() == rb"OSError: /audit/\udcff.log"
    assert log.named("batch.postponed")[0]["error"] == made.error


def test_the_same_failure_is_said_once_and_then_how_often_it_was_and_since_when():
    log, clock = Log(), Clock()
    subject = progress(clock)
    for attempt in range(42):
        clock.seconds = attempt * (AGAIN + 1) / 41
        subject.failed(TransientError(f"HTTP 503, request {attempt}"))
    (first,) = log.named("batch.postponed")
    assert first["failures"] == 1
    (again,) = log.named("batch.still_failing")
    assert again["times"] == 42
    assert again["still"].startswith(f"failing, 42 times since {datetime.now(UTC):%Y}")
    assert again["first_at"] <= again["timestamp"]


def test_another_failure_is_said_at_once_and_two_that_take_turns_are_not_said_anew():
    log, clock = Log(), Clock()
    subject = progress(clock)
    for _ in range(10):
        subject.failed(TransientError("no route"))
        subject.failed(AccessError("token refused", remedy="mend it"))
    assert [line["error"] for line in log.named("batch.postponed")] == ["no route"]
    assert [line["remedy"] for line in log.named("sink.paused")] == ["mend it"]


def test_the_end_of_trouble_is_said_with_its_length_and_the_next_trouble_anew():
    log, subject = Log(), progress(Clock())
    for _ in range(2):
        subject.failed(TransientError("no route"))
        subject.failed(AccessError("token refused"))
        subject.succeeded()
    ended = log.named("component.recovered")
    assert [line["failures"] for line in ended] == [2, 2]
    assert all(line["seconds"] >= 0 and line["since_at"] for line in ended)
    assert len(log.named("batch.postponed")) == 2


def test_a_bug_shows_its_traceback_once():
    log, subject = Log(), progress(Clock())
    for _ in range(5):
        subject.failed(ZeroDivisionError("how odd"))
    (crashed,) = log.named("step.crashed")
    assert "ZeroDivisionError" in str(crashed["exception"])


async def test_one_name_leads_from_the_page_to_each_receipt_whatever_fails_in_between():
    log, outbox = Log(), MemoryOutbox()
    source = FakeSource(make_page(1, 2), make_page(3, 4))
    await Poller("bitbucket", source, normalize, outbox, SourceOptions()).poll_once()
    names = [line["page"] for line in log.named("page.stored")]
    assert names == ["p2", "p4"]
    sink = FakeSink(TransientError("busy"))
    options = SinkOptions.model_validate({"batch": {"events": 3}})
    subject = Dispatcher("splunk", sink, outbox, options)
    for _ in range(3):
        await subject.attempt(Stop())
    (postponed,) = log.named("batch.postponed")
    sent = log.named("batch.sent")
    assert (postponed["batch"], postponed["pages"]) == ("1-3", ["p2", "p4"])
    assert [(line["batch"], line["pages"]) for line in sent] == [
        ("1-3", ["p2", "p4"]),
        ("4-4", ["p4"]),
    ]
    assert [line["attempts"] for line in sent] == [2, 1]
    assert not structlog.contextvars.get_contextvars()


@pytest.mark.parametrize("format_", ["json", "console"])
def test_an_event_is_one_line_whatever_it_says(format_: str):
    stream = io.StringIO()
    LogConfig.model_validate({"format": format_}).apply(stream)
    structlog.get_logger().info("page.stored", error="two\nlines\rand \x1b[31m red", nothing=None)
    (line,) = stream.getvalue().splitlines()
    assert "\x1b[31m red" not in line


def test_the_level_changes_while_it_runs_and_back_to_what_was_configured():
    log = Log("warning")
    logger = structlog.get_logger()
    logger.debug("poll.finished")
    assert set_level("debug") == "debug"
    logger.debug("poll.finished")
    assert set_level(None) == "warning"
    logger.info("poll.finished")
    assert len(log.lines) == 1
