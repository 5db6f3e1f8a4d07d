"""What is repeated, and what is not; and the errors that calls raise."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agentbus import (
    Agentbus,
    AgentbusError,
    ApiError,
    AsyncAgentbus,
    Conflict,
    ConnectionFailed,
    Draft,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)
from agentbus.testing import Server

from .conftest import ROOT_KEY
from .proxy import Proxy

POST = "POST /v1/messages"


def test_a_message_whose_answer_was_lost_is_sent_once(agentbus: Agentbus, proxy: Proxy) -> None:
    with Agentbus(proxy.url, agent="ann") as bus:
        proxy.lose_answers(2)
        ack = bus.send("note", "once")
    assert proxy.count(POST) == 3
    assert ack.duplicate
    assert [message.content for message in agentbus.history()] == ["once"]


async def test_a_message_whose_answer_was_lost_is_sent_once_by_asyncio(agentbus: Agentbus, proxy: Proxy) -> None:
    async with AsyncAgentbus(proxy.url, agent="ann") as bus:
        proxy.lose_answers(2)
        ack = await bus.send("note", "once", idempotency_key="k")
        proxy.lose_answers(1)
        results = await bus.send_many([Draft("note", "two"), Draft("note", "three")])
    assert ack.duplicate
    assert [result.duplicate for result in results] == [True, True]
    assert [message.content for message in agentbus.history()] == ["once", "two", "three"]


def test_a_job_whose_answer_was_lost_is_enqueued_once(agentbus: Agentbus, proxy: Proxy) -> None:
    with Agentbus(proxy.url) as bus:
        proxy.lose_answers(1)
        assert bus.enqueue("q", "build").duplicate
    assert agentbus.queue("q").waiting == 1


def test_what_is_not_safe_is_not_repeated(agentbus: Agentbus, proxy: Proxy) -> None:
    with Agentbus(proxy.url) as bus:
        bus.status()
        proxy.lose_answers(1)
        with pytest.raises(ConnectionFailed):
            bus.redrive_all()
        assert proxy.count("POST /v1/dead-letters/redrive") == 1
        proxy.answer(503)
        with pytest.raises(Unavailable) as caught:
            bus.redrive_all()
        assert proxy.count("POST /v1/dead-letters/redrive") == 2
    assert (caught.value.status, caught.value.code) == (503, "")


def test_repeats_end_with_the_time_of_the_call(proxy: Proxy) -> None:
    proxy.answer(502)
    begun = time.monotonic()
    with Agentbus(proxy.url, timeout=1.0) as bus, pytest.raises(Unavailable) as caught:
        bus.send("note", sender="ann")
    assert caught.value.status == 502
    assert time.monotonic() - begun < 5
    assert proxy.count(POST) > 1


def test_a_repeat_waits_as_long_as_the_server_asks(proxy: Proxy) -> None:
    proxy.answer(503, "retry-after: 60\r\n")
    with Agentbus(proxy.url, timeout=5.0) as bus, pytest.raises(Unavailable) as caught:
        bus.send("note", sender="ann")
    assert caught.value.retry_after == 60
    assert proxy.count(POST) == 1


def test_a_call_goes_on_after_a_restart(agentbus_server: Server, agentbus: Agentbus) -> None:
    agentbus.send("note", "1", sender="ann")
    agentbus_server.kill()
    agentbus_server.start()
    agentbus.send("note", "2", sender="ann")
    assert [message.content for message in agentbus.history()] == ["1", "2"]


def test_nobody_at_the_address() -> None:
    with Agentbus("http://127.0.0.1:9", timeout=0.5) as bus, pytest.raises(ConnectionFailed) as caught:
        bus.me()
    assert isinstance(caught.value, ConnectionError)
    assert "127.0.0.1:9" in str(caught.value)


def test_another_server_at_the_address(proxy: Proxy) -> None:
    proxy.answer(200)
    with Agentbus(proxy.url) as bus:
        with pytest.raises(UnexpectedAnswer):
            bus.me()
        with bus.stream() as stream, pytest.raises(UnexpectedAnswer):
            next(stream)


def refused(bus: Agentbus, call: str, *values: Any, **named: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        getattr(bus, call)(*values, **named)
    return caught.value


def test_errors_without_keys(agentbus: Agentbus) -> None:
    first = agentbus.send("note", "a", sender="ann")
    invalid = refused(agentbus, "send", "a b", kind="task", sender="ann")
    assert isinstance(invalid, Invalid)
    assert (invalid.status, invalid.code) == (422, "invalid_message")
    assert {fault["pointer"] for fault in invalid.errors} == {"/type", "/task_id"}
    assert invalid.request_id
    assert "/task_id" in str(invalid)
    conflict = refused(agentbus, "send", "note", "b", sender="ann", id=first.id)
    assert isinstance(conflict, Conflict)
    assert (conflict.code, conflict.id, conflict.seq) == ("idempotency_conflict", first.id, first.seq)
    missing = refused(agentbus, "task", "nothing")
    assert isinstance(missing, NotFound)
    assert missing.code == "not_found"
    large = refused(agentbus, "send", "note", "x" * 1_100_000, sender="ann")
    assert (large.status, large.code) == (413, "payload_too_large")
    assert isinstance(refused(agentbus, "keys"), Forbidden)


def test_errors_with_keys(locked_server: Server) -> None:
    with Agentbus(locked_server.url) as nobody:
        unknown = refused(nobody, "me")
        assert isinstance(unknown, Unauthenticated)
        assert (unknown.status, unknown.code) == (401, "unauthenticated")
    with Agentbus(locked_server.url, ROOT_KEY) as root:
        made = root.create_key("ann", {"as": ["ann"], "publish": ["agent.message.>"]})
    with Agentbus(locked_server.url, made.key) as ann:
        assert ann.send("note", "mine").seq == 1
        forbidden = refused(ann, "send", "note", sender="bob")
        assert isinstance(forbidden, Forbidden)
        assert (forbidden.code, forbidden.needs) == ("forbidden", "as bob")
        assert refused(ann, "status").code == "forbidden"
    assert made.key
    assert made.key not in repr(made)


def test_settings_come_from_the_environment(locked_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTBUS_URL", locked_server.url + "/")
    monkeypatch.setenv("AGENTBUS_KEY", ROOT_KEY)
    with Agentbus() as bus:
        assert bus.me().id == "root"
        assert bus.url == locked_server.url
    with Agentbus(key="") as bus, pytest.raises(Unauthenticated):
        bus.me()


def test_every_request_names_the_client(proxy: Proxy) -> None:
    with Agentbus(proxy.url) as bus:
        bus.me()
    assert all("user-agent: agentbus-python/0.2.0" in head.lower() for head in proxy.requests)


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://a/?b=c"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        Agentbus(url)


def test_a_key_that_is_none() -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        Agentbus(key="ab_\n")


def test_all_errors_have_one_base() -> None:
    assert all(issubclass(kind, AgentbusError) for kind in (ApiError, ConnectionFailed, UnexpectedAnswer))
