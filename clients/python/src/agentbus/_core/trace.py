"""The trace context of OpenTelemetry, if that is installed (extra `otel`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

try:
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # OpenTelemetry is optional
    _opentelemetry = None
else:
    _opentelemetry = (TraceContextTextMapPropagator(), context)


def trace_headers() -> dict[str, str]:
    """`traceparent` and `tracestate` of the current span; empty without one."""
    headers: dict[str, str] = {}
    if _opentelemetry is not None:
        propagator, _ = _opentelemetry
        propagator.inject(headers)
    return headers


@contextmanager
def continued(traceparent: str | None, tracestate: str | None) -> Iterator[None]:
    """The block runs in this trace: spans that begin in it, and requests, are caused by the span that it names."""
    if _opentelemetry is None or traceparent is None:
        yield
        return
    propagator, current = _opentelemetry
    carrier = {"traceparent": traceparent} | ({"tracestate": tracestate} if tracestate else {})
    token = current.attach(propagator.extract(carrier))
    try:
        yield
    finally:
        current.detach(token)
