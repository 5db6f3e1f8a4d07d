"""Streams through failures: each message once and in order, whatever ends the connection."""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest

from agentbus import Agentbus, AsyncAgentbus, Draft, Gap, Message, Unauthenticated
from agentbus.testing import Server

from .conftest import ROOT_KEY
from .follower import Follower, Form
from .proxy import Proxy
from .waiting import wait_for

both = pytest.mark.parametrize("form", ["sync", "asyncio"])


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def send(bus: Agentbus, first: int, end: int) -> None:
    for number in range(first, end):
        bus.send("note", str(number), sender="ann")


@both
def test_kills_and_restarts_of_the_server(form: Form, agentbus_server: Server, agentbus: Agentbus) -> None:
    follower = Follower(form, agentbus_server.url, last="299", from_="start")
    for first in range(0, 300, 100):
        send(agentbus, first, first + 50)
        agentbus_server.kill()
        agentbus_server.start()
        send(agentbus, first + 50, first + 100)
    follower.finish()
    assert follower.contents == numbers(300)


@both
@pytest.mark.parametrize("status", [502, 503])
def test_a_proxy_that_answers_for_the_server(form: Form, status: int, proxy: Proxy, agentbus: Agentbus) -> None:
    follower = Follower(form, proxy.url, last="19", from_="start")
    send(agentbus, 0, 10)
    follower.wait(10)
    proxy.answer(status)
    send(agentbus, 10, 20)
    opened = proxy.count("GET /v1/stream")
    wait_for(lambda: proxy.count("GET /v1/stream") > opened, "a try that is refused")
    assert follower.contents == numbers(10)
    proxy.answer(None)
    follower.finish()
    assert follower.contents == numbers(20)


@both
def test_connections_that_are_cut(form: Form, proxy: Proxy, agentbus: Agentbus) -> None:
    follower = Follower(form, proxy.url, last="49", from_="start")
    for first in range(0, 50, 10):
        send(agentbus, first, first + 10)
        follower.wait(first + 1)
        proxy.cut()
    follower.finish()
    assert follower.contents == numbers(50)


@both
def test_a_connection_that_is_half_open(form: Form, proxy: Proxy, agentbus: Agentbus) -> None:
    follower = Follower(form, proxy.url, last="19", from_="start", silence=1.0)
    send(agentbus, 0, 10)
    follower.wait(10)
    proxy.silence()
    send(agentbus, 10, 20)
    before = proxy.connections
    wait_for(lambda: proxy.connections > before, "another connection")
    proxy.speak()
    follower.finish()
    assert follower.contents == numbers(20)


@both
def test_an_unknown_cursor_is_a_gap(form: Form, agentbus_server: Server, agentbus: Agentbus) -> None:
    send(agentbus, 0, 1)
    follower = Follower(form, agentbus_server.url, last="1", since=1000)
    follower.wait(1)
    send(agentbus, 1, 2)
    follower.finish()
    gap, message = follower.events
    assert isinstance(gap, Gap)
    assert (gap.from_, gap.to, gap.reason) == (2, 1000, "ahead_of_log")
    assert isinstance(message, Message)
    assert message.seq == 2


@both
def test_a_sequence_beyond_the_end_is_waited_for_through_a_restart(
    form: Form, agentbus_server: Server, agentbus: Agentbus
) -> None:
    follower = Follower(form, agentbus_server.url, last="4", from_=4)
    agentbus_server.stop()
    agentbus_server.start()
    send(agentbus, 0, 5)
    follower.finish()
    assert follower.contents == ["3", "4"]


@both
def test_a_revoked_key_ends_the_stream(form: Form, locked_server: Server) -> None:
    with Agentbus(locked_server.url, ROOT_KEY) as root:
        key = root.create_key("reader", {"read": ["agent.>"]})
        root.send("note", "0", sender="ann")
        follower = Follower(form, locked_server.url, key=key.key or "", from_="start")
        follower.wait(1)
        root.revoke_key(key.id)
        follower.finish()
    assert isinstance(follower.error, Unauthenticated)
    assert (follower.error.status, follower.error.code) == (401, "revoked")


@both
def test_a_slow_consumer_loses_nothing_and_holds_little(
    form: Form, agentbus_server: Server, agentbus: Agentbus
) -> None:
    count, text = 5000, "x" * 4000
    follower = Follower(form, agentbus_server.url, last=str(count), busy=True, from_="start", type=["note", "last"])
    send(agentbus, 0, 1)
    follower.wait(1)
    results = agentbus.send_many(Draft("note", f"{n} {text}", sender="ann") for n in range(1, count))
    assert all(result.error is None for result in results)
    agentbus.send("last", str(count), sender="ann")
    # 20 MB wait, of which one read of the connection is in the client.
    assert follower.stream is not None
    assert len(follower.stream._feed._waiting) < 100
    follower.go_on.set()
    follower.finish()
    assert [content.split()[0] for content in follower.contents] == numbers(count + 1)


def test_the_cursor_resumes_where_another_stream_stopped(agentbus: Agentbus) -> None:
    send(agentbus, 0, 10)
    with agentbus.stream(from_="start") as stream:
        for _ in range(4):
            next(stream)
        cursor = stream.cursor
    assert cursor == 4
    with agentbus.stream(since=cursor) as stream:
        rest = [event.content for event in islice(stream, 6) if isinstance(event, Message)]
        assert rest == numbers(10)[4:]
        send(agentbus, 10, 11)
        next(stream)
        assert stream.caught_up


async def test_a_cancelled_wait_loses_nothing(agentbus_server: Server, agentbus: Agentbus) -> None:
    async with AsyncAgentbus(agentbus_server.url) as bus, bus.stream(from_="start") as stream:
        seen = []
        for number in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(stream), 0.05)
            await asyncio.to_thread(agentbus.send, "note", str(number), sender="ann")
            event = await asyncio.wait_for(anext(stream), 20)
            assert isinstance(event, Message)
            seen.append(event.content)
    assert seen == numbers(5)
