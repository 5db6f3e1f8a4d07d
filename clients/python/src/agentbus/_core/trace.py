"""The trace context of OpenTelemetry, if that is installed (extra `otel`)."""

from __future__ import annotations

try:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # OpenTelemetry is optional
    _propagator = None
else:
    _propagator = TraceContextTextMapPropagator()


def trace_headers() -> dict[str, str]:
    """`traceparent` and `tracestate` of the current span; empty without one."""
    headers: dict[str, str] = {}
    if _propagator is not None:
        _propagator.inject(headers)
    return headers
