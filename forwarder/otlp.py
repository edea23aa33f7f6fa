"""OpenTelemetry: spans of polls and deliveries, and every metric, by OTLP over HTTP.

Needs the extra ``soteri-forwarder[otel]``, which is imported only where an endpoint is configured.
"""

import os
import time
import traceback
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio
import structlog
from anyio import to_thread
from pydantic import Field, field_validator

from forwarder import __version__, tracing
from forwarder.concealed import without_secrets
from forwarder.model import Status
from forwarder.options import Duration, Options, Wait, as_written
from forwarder.secret import Secret
from forwarder.telemetry import METRICS, REGISTRY, Described, publish
from forwarder.tracing import Fact, Span

if TYPE_CHECKING:
    import requests
    from opentelemetry.sdk.metrics.export import Metric
    from opentelemetry.trace import Link, SpanContext
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer as OtelTracer
    from prometheus_client.samples import Sample

_PAGES: Final = 1000
"""Spans of pages that are remembered, for links from the batches that hold them."""
_GOODBYE: Final = 5.0
"""Seconds in which the last spans must be gone at the end."""
_SCOPE: Final = "forwarder"
_REMEDY: Final = 'pip install "soteri-forwarder[otel]"'
_UNITS: Final = {"seconds": "s", "bytes": "By"}

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class OtlpOptions(Options):
    """``[telemetry.otlp]``."""

    endpoint: str | None = Field(
        default=None,
        description="Address of a collector, to which /v1/traces and /v1/metrics are added;"
        " without it nothing is sent.",
        examples=["http://localhost:4318"],
    )
    authorization: Secret | None = Field(
        default=None, description='What is sent as the header Authorization: "Bearer …".'
    )
    traces: bool = Field(default=True, description="Send spans of polls, pages and batches.")
    metrics: bool = Field(default=True, description="Send the metrics of docs/metrics.md.")
    interval: Duration = Field(
        default=as_written("1m"), gt=0, description="Pause between two exports of metrics."
    )
    timeout: Wait = Field(
        default=as_written("10s"), gt=0, description="Longest wait for the collector."
    )
    service_name: str = Field(
        default="soteri-forwarder", description="service.name of what is sent."
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of trusted CAs, in place of the system's."
    )
    cert_file: Path | None = Field(default=None, description="PEM file of our client certificate.")
    key_file: Path | None = Field(default=None, description="PEM file of its private key.")

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, written: str | None) -> str | None:
        parts = urlsplit(written or "http://none")
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise ValueError(f'"{written}" is no address: write it like "http://localhost:4318"')
        if parts.username or parts.password:
            raise ValueError("holds a credential: use authorization_file instead")
        if written and not _is_installed():
            raise ValueError(f"OpenTelemetry is not installed: {_REMEDY}")
        return written


def _is_installed() -> bool:
    try:
        return all(map(find_spec, ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")))
    except ImportError:
        return False


class TelemetryConfig(Options):
    """``[telemetry]``."""

    otlp: OtlpOptions = OtlpOptions()

    @asynccontextmanager
    async def open(self, status: Callable[[], Awaitable[Status]]) -> AsyncIterator[None]:
        """Send spans and metrics while inside, if an endpoint is configured."""
        if self.otlp.endpoint is None:
            yield
            return
        sender = Sender(self.otlp, self.otlp.endpoint.rstrip("/"))
        try:
            async with anyio.create_task_group() as group:
                if self.otlp.metrics:
                    group.start_soon(sender.run, status)
                yield
                group.cancel_scope.cancel()
        finally:
            tracing.use(None)
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(sender.close)


class Sender:
    """Sends to one collector. What it does not take is dropped, and said in the log."""

    def __init__(self, options: OtlpOptions, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        shared: dict[str, Any] = {
            "certificate_file": _text(options.ca_file),
            "client_certificate_file": _text(options.cert_file),
            "client_key_file": _text(options.key_file),
            "timeout": options.timeout,
            "compression": Compression.Gzip,
        }
        self._resource: Resource = Resource.create(
            {
                "service.name": options.service_name,
                "service.version": __version__,
                "service.instance.id": os.uname().nodename,
                "host.name": os.uname().nodename,
            }
        )
        self._interval = options.interval
        self._began = time.time_ns()
        self._metrics = OTLPMetricExporter(
            endpoint=f"{endpoint}/v1/metrics", session=_session(options), **shared
        )
        self._provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        if options.traces:
            exporter = OTLPSpanExporter(
                endpoint=f"{endpoint}/v1/traces", session=_session(options), **shared
            )
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
            tracing.use(Spans(self._provider.get_tracer(_SCOPE, __version__)))

    async def run(self, status: Callable[[], Awaitable[Status]]) -> None:
        """Send every metric each interval, until cancelled."""
        while True:
            await anyio.sleep(self._interval)
            try:
                await self.send_once(status)
            except Exception as error:  # noqa: BLE001  the edge of the loop: it must live
                log.warning("metrics.dropped", error=f"{type(error).__name__}: {error}")

    async def send_once(self, status: Callable[[], Awaitable[Status]]) -> None:
        """Send every metric as it is now."""
        from opentelemetry.sdk.metrics.export import (
            MetricExportResult,
            MetricsData,
            ResourceMetrics,
            ScopeMetrics,
        )
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        publish(await status())
        metrics = list(_metrics(self._began, time.time_ns()))
        scope = ScopeMetrics(InstrumentationScope(_SCOPE, __version__), metrics, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        result = await to_thread.run_sync(self._metrics.export, data, abandon_on_cancel=True)
        if result is not MetricExportResult.SUCCESS:
            log.warning("metrics.dropped", error="the collector did not take them")

    def close(self) -> None:
        """Send the last spans, and let go; what is not gone in time is dropped."""
        # The library keeps no time limit here: a silent collector would hold the end up.
        leaving = Thread(target=self._provider.shutdown, daemon=True)
        leaving.start()
        leaving.join(_GOODBYE)
        self._metrics.shutdown()


class Spans:
    """Makes OpenTelemetry's spans; see `tracing.Tracer`."""

    def __init__(self, tracer: "OtelTracer") -> None:
        self._tracer = tracer
        self._brought: OrderedDict[str, SpanContext] = OrderedDict()

    @contextmanager
    def span(self, name: str, pages: Sequence[str], facts: dict[str, Fact]) -> Iterator[Span]:
        """Return a span, linked to those that brought `pages`."""
        links = list(self._links(pages))
        with self._tracer.start_as_current_span(
            name,
            attributes=facts,
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as made:
            try:
                yield _Seen(made, self._brought)
            except Exception as error:
                _record(made, error)
                raise

    def _links(self, pages: Sequence[str]) -> "Iterator[Link]":
        from opentelemetry.trace import Link

        for page in pages:
            if context := self._brought.get(page):
                yield Link(context, {"page": page})


class _Seen:
    """A span that goes out; see `tracing.Span`."""

    def __init__(self, made: "OtelSpan", brought: "OrderedDict[str, SpanContext]") -> None:
        self._made = made
        self._brought = brought

    def say(self, **facts: Fact) -> None:
        """Add what is known by now."""
        self._made.set_attributes(facts)

    def brings(self, page: str) -> None:
        """Let later spans that name `page` be linked to this one."""
        self._made.set_attribute("page", page)
        self._brought[page] = self._made.get_span_context()
        if len(self._brought) > _PAGES:
            self._brought.popitem(last=False)


def _record(made: "OtelSpan", error: Exception) -> None:
    """Have the span say what failed inside; what a server repeated stands in the error's causes."""
    from opentelemetry import trace

    said = without_secrets(str(error))
    causes = without_secrets("".join(traceback.format_exception(error)))
    made.record_exception(
        error, {"exception.message": said, "exception.stacktrace": causes}, escaped=True
    )
    made.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(error).__name__}: {said}"))


def _metrics(began: int, now: int) -> "Iterator[Metric]":
    """Yield every metric that has a value, under its own name."""
    samples: dict[str, list[Sample]] = {}
    for family in REGISTRY.collect():
        samples[family.name] = family.samples
    for described in METRICS:
        name = described.name.removesuffix("_total").removesuffix("_info")
        if found := samples.get(name):
            yield _metric(described, found, began, now)


def _metric(described: Described, samples: "Sequence[Sample]", began: int, now: int) -> "Metric":
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        Histogram,
        Metric,
        NumberDataPoint,
        Sum,
    )

    cumulative = AggregationTemporality.CUMULATIVE
    data: Sum | Gauge | Histogram
    if described.type == "histogram":
        data = Histogram(list(_distributions(samples, began, now)), cumulative)
    else:
        since = began if described.type == "counter" else 0
        points = [NumberDataPoint(dict(s.labels), since, now, s.value) for s in samples]
        data = Sum(points, cumulative, True) if since else Gauge(points)  # noqa: FBT003  is_monotonic
    unit = _UNITS.get(described.name.rpartition("_")[2], "")
    return Metric(described.name, described.text, unit, data)


def _distributions(samples: "Iterable[Sample]", began: int, now: int) -> Iterator[Any]:
    """Yield a histogram for each set of labels: Prometheus' buckets add up, OTLP's do not."""
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    nobody_knows: Any = None  # the least and the greatest

    def labels(sample: "Sample") -> list[tuple[str, str]]:
        return sorted((k, v) for k, v in sample.labels.items() if k != "le")

    for key, of_labels in groupby(sorted(samples, key=labels), key=labels):
        group = list(of_labels)
        buckets = [s for s in group if s.name.endswith("_bucket")]
        buckets.sort(key=lambda s: float(s.labels["le"]))
        counts = [int(s.value) for s in buckets]
        total = next(s.value for s in group if s.name.endswith("_sum"))
        yield HistogramDataPoint(
            dict(key),
            began,
            now,
            counts[-1],
            total,
            [each - before for each, before in zip(counts, [0, *counts], strict=False)],
            [float(s.labels["le"]) for s in buckets[:-1]],
            nobody_knows,
            nobody_knows,
        )


def _session(options: OtlpOptions) -> "requests.Session":
    """Return a session that shows the credential, as it is now, to no other address."""
    import requests

    session = requests.Session()
    session.max_redirects = 0
    if secret := options.authorization:

        def show(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = secret.reveal()
            return request

        session.auth = show
    return session


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
