"""A collector: OTLP over HTTP as its specification 1.x says it, and strict about it."""

import gzip
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.receivers.serving import listening

PROTOBUF = "application/x-protobuf"


@dataclass
class Collector:
    """Holds what it was sent; `problems` says what of it no collector need take."""

    authorization: str = ""
    spans: list[Span] = field(default_factory=list)
    metrics: dict[str, Metric] = field(default_factory=dict)
    resources: list[dict[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    async def traces(self, request: Request) -> Response:
        sent = ExportTraceServiceRequest()
        if refusal := await self._read(request, sent):
            return refusal
        for of_resource in sent.resource_spans:
            self._resource(of_resource.resource)
            for scope in of_resource.scope_spans:
                for span in scope.spans:
                    self._look_at_span(span)
                    self.spans.append(span)
        return answer(ExportTraceServiceResponse())

    async def measures(self, request: Request) -> Response:
        sent = ExportMetricsServiceRequest()
        if refusal := await self._read(request, sent):
            return refusal
        for of_resource in sent.resource_metrics:
            self._resource(of_resource.resource)
            names = [m.name for scope in of_resource.scope_metrics for m in scope.metrics]
            if len(names) != len(set(names)):
                self.problems.append("a metric comes twice")
            for scope in of_resource.scope_metrics:
                for metric in scope.metrics:
                    self._look_at_metric(metric)
                    self.metrics[metric.name] = metric
        return answer(ExportMetricsServiceResponse())

    async def _read(self, request: Request, into: Message) -> Response | None:
        if self.authorization and request.headers.get("authorization") != self.authorization:
            return Response(status_code=401)
        if request.headers["content-type"] != PROTOBUF:
            return Response(status_code=415)
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        into.ParseFromString(body)
        if into.ByteSize() != len(body) or not body:
            self.problems.append("what came is not what it reads as")
        return None

    def _resource(self, resource: Message) -> None:
        told = MessageToDict(resource).get("attributes", [])
        self.resources.append({each["key"]: each["value"].get("stringValue") for each in told})

    def _look_at_span(self, span: Span) -> None:
        if len(span.trace_id) != 16 or len(span.span_id) != 8:
            self.problems.append(f"{span.name}: an id has the wrong length")
        if not 0 < span.start_time_unix_nano <= span.end_time_unix_nano:
            self.problems.append(f"{span.name}: it ends before it begins")
        for link in span.links:
            if len(link.trace_id) != 16 or len(link.span_id) != 8:
                self.problems.append(f"{span.name}: a link leads nowhere")

    def _look_at_metric(self, metric: Metric) -> None:
        kind = metric.WhichOneof("data")
        points = getattr(metric, str(kind)).data_points
        if not metric.name or not points:
            self.problems.append(f"{metric.name}: nothing is told")
        cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        if kind in {"sum", "histogram"}:
            if getattr(metric, kind).aggregation_temporality != cumulative:
                self.problems.append(f"{metric.name}: not cumulative")
            if any(not 0 < p.start_time_unix_nano <= p.time_unix_nano for p in points):
                self.problems.append(f"{metric.name}: no time")
        keys = [tuple(sorted((a.key, str(a.value)) for a in p.attributes)) for p in points]
        if len(keys) != len(set(keys)):
            self.problems.append(f"{metric.name}: one set of attributes twice")
        if kind == "histogram":
            for point in points:
                if len(point.bucket_counts) != len(point.explicit_bounds) + 1:
                    self.problems.append(f"{metric.name}: buckets and bounds do not fit")
                if sum(point.bucket_counts) != point.count:
                    self.problems.append(f"{metric.name}: buckets do not add up")
                if list(point.explicit_bounds) != sorted(point.explicit_bounds):
                    self.problems.append(f"{metric.name}: bounds are out of order")


def answer(said: Message) -> Response:
    return Response(said.SerializeToString(), media_type=PROTOBUF)


def told(span: Span) -> dict[str, object]:
    """Return a span's attributes."""
    found = {}
    for each in span.attributes:
        found[each.key] = getattr(each.value, str(each.value.WhichOneof("value")))
    return found


def collecting(collector: Collector) -> AbstractAsyncContextManager[str]:
    """Serve `collector` on a free port of this machine; yield its address."""
    return listening(
        Starlette(
            routes=[
                Route("/v1/traces", collector.traces, methods=["POST"]),
                Route("/v1/metrics", collector.measures, methods=["POST"]),
            ]
        )
    )
