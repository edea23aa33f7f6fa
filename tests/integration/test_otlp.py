"""OpenTelemetry: what a collector gets, and that nothing is there where none is configured."""

import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from forwarder import tracing
from forwarder.app import assemble
from forwarder.concealed import conceal
from forwarder.config import load
from forwarder.errors import TransientError
from forwarder.otlp import TelemetryConfig
from forwarder.pipeline.stop import Stop
from forwarder.simulator import Simulator, SimulatorOptions, serve
from forwarder.telemetry import METRICS
from tests.receivers.otlp import Collector, collecting, told

CONFIG = """
[sources.bitbucket]
type = "bitbucket_audit"
url = "{bitbucket}"
token = "{token}"
start_at = "beginning"
[store]
url = "sqlite:///{folder}/state/forwarder.db"
[sinks.archive]
type = "file"
path = "{folder}/audit.jsonl"
[telemetry.otlp]
endpoint = "{collector}"
authorization = "Bearer s3cret"
interval = "200ms"
"""


def backlog(collector: Collector) -> float | None:
    told_of = collector.metrics.get("forwarder_backlog_events")
    sent = collector.metrics.get("forwarder_send_seconds")
    return told_of.gauge.data_points[0].as_double if told_of and sent else None


async def test_a_collector_gets_the_spans_and_every_metric_that_has_a_value(tmp_path: Path):
    simulator = Simulator(SimulatorOptions(history=60))
    collector = Collector(authorization="Bearer s3cret")
    async with collecting(collector) as address, serve(simulator) as bitbucket:
        path = tmp_path / "config.toml"
        path.touch(0o600)
        token = simulator.options.token
        path.write_text(
            CONFIG.format(bitbucket=bitbucket, token=token, folder=tmp_path, collector=address)
        )
        config = load(path, {})
        async with (
            assemble(config, once=True) as daemon,
            config.telemetry.open(daemon.status),
        ):
            await daemon.forward_once(Stop())
            with anyio.fail_after(20):
                while backlog(collector) != 0:
                    await anyio.sleep(0.02)
    assert collector.problems == []
    assert all(
        each["service.name"] == "soteri-forwarder" and each["service.version"]
        for each in collector.resources
    )
    assert {metric.name for metric in METRICS} >= collector.metrics.keys()
    stored = collector.metrics["forwarder_events_stored_total"]
    assert stored.sum.is_monotonic
    assert collector.metrics["forwarder_send_seconds"].unit == "s"
    assert collector.metrics["forwarder_send_seconds"].histogram.data_points[0].count >= 1

    spans = {name: [s for s in collector.spans if s.name == name] for name in
             ("poll", "page", "send")}  # fmt: skip
    (poll,) = spans["poll"]
    brought = [page for page in spans["page"] if told(page).get("page")]
    assert all(page.parent_span_id == poll.span_id for page in spans["page"])
    assert told(poll)["source"] == "bitbucket"
    sent = spans["send"][0]
    assert told(sent)["sink"] == "archive"
    assert {link.span_id for link in sent.links} <= {page.span_id for page in brought}
    assert sent.links
    assert sum(told(page)["stored"] for page in brought) == sum(
        told(send)["events"] for send in spans["send"]
    )


async def test_what_failed_is_told_without_the_credential_that_a_server_repeats():
    collector = Collector()
    conceal("a-token-of-ours")
    async with collecting(collector) as address:
        config = TelemetryConfig.model_validate({"otlp": {"endpoint": address, "metrics": False}})

        async def status():
            raise AssertionError

        async with config.open(status):
            with suppress(TransientError), tracing.span("send", sink="s"):
                error = ValueError("you sent Authorization: Bearer a-token-of-ours")
                raise TransientError(f"HTTP 500: {error}") from error
    (span,) = collector.spans
    (failure,) = span.events
    facts = {each.key: each.value.string_value for each in failure.attributes}
    assert facts["exception.type"] == "forwarder.errors.TransientError"
    assert "ValueError: you sent Authorization: Bearer *****" in facts["exception.stacktrace"]
    assert span.status.message.startswith("TransientError: HTTP 500: you sent")
    assert b"a-token-of-ours" not in span.SerializeToString()


async def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path):
    given = {"otlp": {"endpoint": "http://127.0.0.1:9", "timeout": "100ms", "interval": "1h"}}
    config = TelemetryConfig.model_validate(given)

    async def status():
        raise AssertionError

    with anyio.fail_after(20):
        async with config.open(status):
            with tracing.span("poll", source="b") as span:
                span.say(records=1)
    assert tracing._Current.tracer is None


async def test_a_collector_that_never_answers_holds_the_end_up_for_some_seconds_at_most():
    async def status():
        raise AssertionError

    with socket.create_server(("127.0.0.1", 0)) as silent:
        given = {"otlp": {"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}"}}
        async with TelemetryConfig.model_validate(given).open(status):
            for _ in range(1200):  # more than one request's worth
                with tracing.span("poll", source="b"):
                    pass
            begun = time.monotonic()
    assert time.monotonic() - begun < 8


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)


def test_nothing_of_it_is_imported_where_no_endpoint_is_configured():
    done = run(
        "import sys, anyio\n"
        "from forwarder.app import assemble\n"
        "from forwarder.otlp import TelemetryConfig\n"
        "async def main():\n"
        "    async with TelemetryConfig().open(None): pass\n"
        "anyio.run(main)\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    assert done.returncode == 0, done.stderr.decode()


def test_without_the_extra_it_says_what_to_install():
    done = run(
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from forwarder.otlp import TelemetryConfig\n"
        "try: TelemetryConfig.model_validate({'otlp': {'endpoint': 'http://localhost:4318'}})\n"
        "except ValueError as error: print(error)\n"
    )
    assert b'pip install "soteri-forwarder[otel]"' in done.stdout, done.stderr.decode()


@pytest.mark.parametrize("address", ["localhost:4318", "http://", "http://u:p@h", "http://h?x=1"])
def test_what_is_no_address_or_holds_a_credential_is_refused(address: str):
    with pytest.raises(ValueError, match=r"is no address|holds a credential"):
        TelemetryConfig.model_validate({"otlp": {"endpoint": address}})
