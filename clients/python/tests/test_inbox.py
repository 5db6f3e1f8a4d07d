"""Inboxes: what is acknowledged when, and questions with their answers."""

from __future__ import annotations

import threading
import time

import pytest

from agentbus import Agentbus, AsyncAgentbus, Message, NoReply
from agentbus.testing import Server

from .proxy import Proxy


def send(bus: Agentbus, *contents: str, to: str | None = "bob") -> None:
    for content in contents:
        bus.send("note", content, sender="ann", to=to)


def consumed(bus: Agentbus) -> int:
    """How many of bob's messages are acknowledged; their sequences are 1, 2, 3 …"""
    return bus.inbox_ack(0, "bob").consumed_through


def test_a_message_is_acknowledged_when_the_loop_asks_for_the_next(agentbus: Agentbus) -> None:
    send(agentbus, "1", "2", "3")
    inbox = iter(agentbus.inbox("bob"))
    for number in range(3):
        assert next(inbox).content == str(number + 1)
        assert consumed(agentbus) == number


def test_what_raised_comes_again(agentbus: Agentbus) -> None:
    send(agentbus, "1", "2")
    with pytest.raises(RuntimeError), agentbus.inbox("bob") as inbox:
        for message in inbox:
            if message.content == "2":
                raise RuntimeError
    assert consumed(agentbus) == 1
    assert next(iter(agentbus.inbox("bob"))).content == "2"


def test_the_end_of_the_block_acknowledges_the_last(agentbus: Agentbus) -> None:
    send(agentbus, "1", "2")
    with agentbus.inbox("bob") as inbox:
        for message in inbox:
            if message.content == "2":
                break
    assert consumed(agentbus) == 2


def test_acknowledging_at_once(agentbus: Agentbus) -> None:
    send(agentbus, "1")
    inbox = agentbus.inbox("bob")
    next(inbox)
    inbox.ack()
    assert consumed(agentbus) == 1


def test_without_acknowledgements_it_reads_on(agentbus: Agentbus) -> None:
    send(agentbus, "1", "2", "3")
    with agentbus.inbox("bob", ack=False, page_size=1) as inbox:
        assert [next(inbox).content for _ in range(3)] == ["1", "2", "3"]
    assert consumed(agentbus) == 0


def test_the_name_of_the_client_is_the_default(agentbus_server: Server, agentbus: Agentbus) -> None:
    send(agentbus, "1")
    send(agentbus, "all", to=None)
    with Agentbus(agentbus_server.url, agent="bob") as bob, bob.inbox(broadcast=True) as inbox:
        assert [next(inbox).content for _ in range(2)] == ["1", "all"]
    with pytest.raises(ValueError, match="name the agent"):
        agentbus.inbox()


def test_an_inbox_waits_through_an_outage(agentbus_server: Server, agentbus: Agentbus) -> None:
    seen: list[str] = []

    def read() -> None:
        with Agentbus(agentbus_server.url) as bus, bus.inbox("bob") as inbox:
            seen.extend(next(inbox).content for _ in range(2))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    send(agentbus, "1")
    agentbus_server.kill()
    agentbus_server.start()
    send(agentbus, "2")
    reader.join(20)
    assert seen == ["1", "2"]
    assert consumed(agentbus) == 2


async def test_the_inbox_of_asyncio(agentbus_server: Server, agentbus: Agentbus) -> None:
    send(agentbus, "1", "2")
    async with AsyncAgentbus(agentbus_server.url, agent="bob") as bob, bob.inbox() as inbox:
        async for message in inbox:
            if message.content == "2":
                break
    assert consumed(agentbus) == 2


def answer_one(url: str) -> threading.Thread:
    """Starts bob, who answers one question."""

    def run() -> None:
        with Agentbus(url, agent="bob") as bob, bob.inbox() as inbox:
            question = next(inbox)
            bob.answer(question, question.content.upper(), metadata={"by": "bob"})

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_question_gets_its_answer(agentbus_server: Server) -> None:
    bob = answer_one(agentbus_server.url)
    with Agentbus(agentbus_server.url, agent="ann") as ann:
        reply = ann.ask("question", "ready?", to="bob", conversation="c1", reply_within=20)
        question = next(ann.history(type="question"))
    bob.join(20)
    assert isinstance(reply, Message)
    assert (reply.content, reply.type, reply.sender_id, reply.recipient_id) == ("READY?", "answer", "bob", "ann")
    assert (reply.in_reply_to, reply.conversation_id, reply.metadata) == (question.id, "c1", {"by": "bob"})


def test_a_question_whose_answer_was_lost_is_asked_again_under_its_id(
    agentbus_server: Server, agentbus: Agentbus, proxy: Proxy
) -> None:
    bob = answer_one(agentbus_server.url)
    with Agentbus(proxy.url, agent="ann") as ann:
        proxy.lose_answers(1)
        assert ann.ask("question", "ready?", to="bob", reply_within=20).content == "READY?"
    bob.join(20)
    assert len(list(agentbus.history(type="question"))) == 1


def test_a_question_goes_on_after_a_restart(agentbus_server: Server, agentbus: Agentbus) -> None:
    replies: list[Message] = []

    def ask() -> None:
        with Agentbus(agentbus_server.url, agent="ann") as ann:
            replies.append(ann.ask("question", "ready?", to="bob", reply_within=30))

    ann = threading.Thread(target=ask, daemon=True)
    ann.start()
    with agentbus.stream(from_="start", type="question") as stream:
        next(stream)
    # A server that stops in order ends the wait without a reply.
    agentbus_server.stop()
    agentbus_server.start()
    answer_one(agentbus_server.url).join(20)
    ann.join(20)
    assert [reply.content for reply in replies] == ["READY?"]


def test_nobody_answers_in_time(agentbus: Agentbus, proxy: Proxy) -> None:
    begun = time.monotonic()
    with Agentbus(proxy.url, agent="ann") as ann, pytest.raises(NoReply) as caught:
        ann.ask("question", "hello?", to="bob", reply_within=1)
    assert 1 <= time.monotonic() - begun < 5
    assert proxy.count("POST /v1/messages") == 1
    assert agentbus.get_message(caught.value.id or "").seq == caught.value.seq
