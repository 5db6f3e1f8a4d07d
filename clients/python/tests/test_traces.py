"""Traces end to end: OpenTelemetry's own instrumentation, and a receiver that decodes with OpenTelemetry's own code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agentbus import Agentbus, Job
from agentbus.testing import Server

from .waiting import wait_for


class Receiver:
    """A receiver of OTLP over HTTP. It keeps the spans of agentbus."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
                request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                spans.extend(
                    span
                    for of_resource in request.resource_spans
                    for of_scope in of_resource.scope_spans
                    for span in of_scope.spans
                )
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def children(self, parent: bytes) -> list[Span]:
        """The spans that this one has caused."""
        return [span for span in self.spans if span.parent_span_id == parent]

    def only_child(self, parent: bytes) -> Span:
        """Waits for the one span that this one has caused."""
        wait_for(lambda: self.children(parent), "the span comes")
        (child,) = self.children(parent)
        return child


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def traced(receiver: Receiver) -> Iterator[Server]:
    """A server that sends its spans to the receiver."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "20"}
    with Server(settings) as server:
        yield server


@pytest.fixture
def own() -> Iterator[tuple[trace.Tracer, InMemorySpanExporter]]:
    """A tracer of this process, with httpx instrumented, and the spans that it made."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    yield provider.get_tracer("test"), exporter
    HTTPXClientInstrumentor().uninstrument()


def id_of(span: ReadableSpan) -> bytes:
    """The id of a span as OTLP has it."""
    assert span.context is not None
    number: int = span.context.span_id
    return number.to_bytes(8, "big")


def test_a_message_keeps_the_parent_that_the_instrumentation_sent(
    traced: Server, receiver: Receiver, own: tuple[trace.Tracer, InMemorySpanExporter]
) -> None:
    tracer, exporter = own
    with tracer.start_as_current_span("root"):
        body = {"kind": "message", "type": "note", "sender_id": "ann"}
        assert httpx.post(f"{traced.url}/v1/messages", json=body).status_code == 201
    call, root = exporter.get_finished_spans()
    assert (call.kind, root.name) == (trace.SpanKind.CLIENT, "root")
    request = receiver.only_child(id_of(call))
    published = receiver.only_child(request.span_id)
    assert (request.name, request.kind) == ("POST /v1/messages", Span.SPAN_KIND_SERVER)
    assert (published.kind, published.name) == (Span.SPAN_KIND_PRODUCER, "publish agent.message.{sender_role}.{type}")
    assert root.context is not None
    for span in (request, published):
        assert span.trace_id == root.context.trace_id.to_bytes(16, "big")


def test_a_worker_continues_the_trace_of_who_enqueued_its_job(
    traced: Server, receiver: Receiver, own: tuple[trace.Tracer, InMemorySpanExporter]
) -> None:
    tracer, exporter = own
    with Agentbus(traced.url, agent="ann") as bus:
        with tracer.start_as_current_span("root") as root:
            bus.enqueue("q", "build", 7)
        worker = bus.worker("q")

        @worker.job()
        def build(job: Job) -> None:
            with tracer.start_as_current_span("handler"):
                bus.send("built")
            worker.stop()

        worker.run(signals=False)
    (handler,) = [span for span in exporter.get_finished_spans() if span.name == "handler"]
    assert handler.parent is not None
    assert handler.parent.trace_id == root.get_span_context().trace_id
    wait_for(lambda: any(span.name == "enqueue q" for span in receiver.spans), "the span comes")
    (enqueued,) = [span for span in receiver.spans if span.name == "enqueue q"]
    assert handler.parent.span_id.to_bytes(8, "big") == enqueued.span_id
    # The message that the handler sent goes on from there.
    (sent,) = [
        span
        for span in exporter.get_finished_spans()
        if span.parent is not None and span.parent.span_id.to_bytes(8, "big") == id_of(handler)
    ]
    assert receiver.only_child(id_of(sent)).trace_id == enqueued.trace_id
