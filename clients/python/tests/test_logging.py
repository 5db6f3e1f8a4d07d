"""What the client logs, and the trace context that it sends."""

from __future__ import annotations

import logging

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from agentbus import Agentbus, AsyncAgentbus
from agentbus._core.calls import access
from agentbus._core.request import get, path

from .proxy import Proxy

TRACE = 0x0AF7651916CD43DD8448EB211C80319C


def test_requests_carry_the_current_trace(proxy: Proxy) -> None:
    span = NonRecordingSpan(SpanContext(TRACE, 0xB7AD6B7169203331, is_remote=False, trace_flags=TraceFlags(1)))
    with Agentbus(proxy.url) as bus:
        with trace.use_span(span):
            bus.send("note", sender="ann")
        bus.me()
    sent = next(head for head in proxy.requests if head.startswith("POST"))
    assert f"traceparent: 00-{TRACE:032x}-b7ad6b7169203331-01" in sent
    assert "traceparent" not in next(head for head in proxy.requests if head.startswith("GET /v1/me"))


@pytest.mark.parametrize(("major", "warnings"), [("0", 0), ("7", 1)])
def test_another_major_version_is_a_warning_once(
    major: str, warnings: int, agentbus: Agentbus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = access.status().read
    monkeypatch.setattr(
        access,
        "status",
        lambda: get(path("status"), lambda answer: real(answer).model_copy(update={"version": f"{major}.2.0"})),
    )
    agentbus.me()
    agentbus.me()
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(found) == warnings
    assert all("7.2.0" in text for text in found)


async def test_asyncio_asks_for_the_version_once(proxy: Proxy) -> None:
    async with AsyncAgentbus(proxy.url) as bus:
        await bus.me()
        await bus.me()
    assert proxy.count("GET /v1/status") == 1


def test_an_outage_is_told_once_without_contents(
    proxy: Proxy, agentbus: Agentbus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentbus")
    with Agentbus(proxy.url) as bus, bus.stream(from_="start") as stream:
        agentbus.send("note", "secret", sender="ann")
        next(stream)
        proxy.cut()
        agentbus.send("note", "secret", sender="ann")
        next(stream)
    texts = [record.getMessage() for record in caplog.records if record.name == "agentbus"]
    assert len([text for text in texts if "stream lost" in text]) == 1
    assert len([text for text in texts if "stream resumed" in text]) == 1
    assert "secret" not in caplog.text
