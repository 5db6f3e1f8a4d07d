"""The state of a stream across its connections."""

from __future__ import annotations

import pytest

from agentbus import Event, Forbidden, Gap, Message, Unauthenticated, UnexpectedAnswer
from agentbus._core.cursor import Cursor, Start
from agentbus._core.feed import Feed
from agentbus._core.limits import LONGEST_WAIT
from agentbus._core.request import Answer
from agentbus._models.message import message_reader
from agentbus.content import Contents

STREAM = Answer(200, {"content-type": "text/event-stream; charset=utf-8"})


def feed(from_: Start | None = "start", since: int | None = None) -> Feed:
    return Feed({"task": ["t1", "t2"], "broadcast": True}, Cursor(from_, since), message_reader(Contents()))


def ready(id: int, replaying: str = "true") -> str:
    return f'retry: 1500\nid: {id}\nevent: ready\ndata: {{"head":9,"first":1,"replaying":{replaying}}}\n\n'


def message(seq: int) -> str:
    return f'id: {seq}\nevent: task\ndata: {{"seq":{seq},"id":"x","kind":"task"}}\n\n'


def receive(feed: Feed, text: str) -> list[Event]:
    assert feed.opened(STREAM) is None
    feed.receive(text.encode())
    return list(iter(feed.take, None))


def position(feed: Feed) -> tuple[str | None, str | None]:
    """Where the next connection begins: `from` and `Last-Event-ID`."""
    request = feed.request()
    return dict(request.query).get("from"), request.headers.get("last-event-id")


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events if isinstance(event, Message)]


def test_each_message_once_across_connections() -> None:
    stream = feed(5)
    assert position(stream) == ("5", None)
    assert seqs(receive(stream, ready(4) + message(5) + message(6))) == [5, 6]
    stream.lost("cut")
    assert position(stream) == (None, "6")
    assert seqs(receive(stream, ready(6) + message(6) + message(5) + message(7))) == [7]
    assert receive(stream, "id: 40\nevent: heartbeat\n\n") == []
    assert position(stream) == (None, "40")
    assert stream.cursor == 40


def test_filters_stay() -> None:
    stream = feed()
    receive(stream, ready(0) + message(1))
    assert stream.request().query == [("task", "t1"), ("task", "t2"), ("broadcast", "true")]


def test_the_cursor_is_what_was_taken() -> None:
    stream = feed()
    before = stream.cursor
    assert before is None
    stream.opened(STREAM)
    stream.receive((ready(0) + message(1) + message(2)).encode())
    assert stream.take() is not None
    assert (stream.cursor, position(stream)) == (1, (None, "2"))


def test_a_wait_beyond_the_end_keeps_its_start() -> None:
    stream = feed(100)
    receive(stream, ready(99, "false"))
    assert position(stream) == ("100", None)
    assert stream.caught_up
    assert seqs(receive(stream, message(99) + message(100))) == [100]
    assert position(stream) == (None, "100")


def test_from_now_becomes_a_cursor() -> None:
    stream = feed(None)
    assert position(stream) == ("now", None)
    receive(stream, ready(9, "false"))
    assert position(stream) == (None, "9")


def test_a_cursor_of_another_log_falls_back_to_its_end() -> None:
    stream = feed(None, 500)
    gap = 'event: gap\ndata: {"from":10,"to":500,"reason":"ahead_of_log"}\n\n'
    (event,) = receive(stream, ready(9) + gap)
    assert isinstance(event, Gap)
    assert str(event) == "no messages from 10 to 500: ahead_of_log"
    assert position(stream) == (None, "9")
    assert seqs(receive(stream, message(10))) == [10]


def test_one_start_alone() -> None:
    with pytest.raises(ValueError, match="one place"):
        feed("start", 5)


def test_caught_up() -> None:
    stream = feed()
    receive(stream, ready(0) + message(1))
    assert not stream.caught_up
    receive(stream, 'event: caught_up\ndata: {"seq":9}\n\n')
    assert stream.caught_up
    assert position(stream) == (None, "1")


def test_denied_ends_it_after_what_came_before() -> None:
    stream = feed()
    stream.opened(STREAM)
    stream.receive((ready(0) + message(1) + 'event: denied\ndata: {"code":"revoked"}\n\n' + message(2)).encode())
    assert isinstance(stream.take(), Message)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="revoked"):
            stream.take()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422])
def test_a_refusal_ends_it(status: int) -> None:
    with pytest.raises(Exception, match=str(status)):
        feed().opened(Answer(status, {}, b'{"code":"x"}'))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_waited_for(status: int) -> None:
    stream = feed()
    wait = stream.opened(Answer(status, {"retry-after": "7"}, b""))
    assert wait is not None
    assert 7 <= wait <= LONGEST_WAIT


def test_unavailable_is_no_event_and_sets_the_wait() -> None:
    stream = feed()
    assert receive(stream, "retry: 10\nevent: unavailable\n\n") == []
    assert stream.lost("ended") <= 0.01


def test_waits_grow_and_begin_again_after_a_message() -> None:
    stream = feed()
    receive(stream, "retry: 1000\n\n")
    waits = [stream.lost("cut") for _ in range(200)]
    assert LONGEST_WAIT / 2 < max(waits) <= LONGEST_WAIT
    assert max(waits[:2]) <= 2
    receive(stream, ready(0))
    assert stream.lost("cut") <= 1.5


def test_what_is_no_stream() -> None:
    with pytest.raises(UnexpectedAnswer):
        feed().opened(Answer(200, {"content-type": "text/html"}))
    for text in ("id: x\ndata: {}\n\n", "id: 1\ndata: no\n\n", "event: gap\ndata: {}\n\n", "id: 1\ndata: {}\n\n"):
        with pytest.raises(UnexpectedAnswer):
            receive(feed(), text)


def test_what_a_newer_server_adds() -> None:
    events = receive(feed(), 'event: news\ndata: {}\n\nid: 1\nevent: poll\ndata: {"seq":1,"mood":"good"}\n\n')
    (event,) = events
    assert isinstance(event, Message)
    assert event.model_extra == {"mood": "good"}


def test_forbidden_names_what_lacks() -> None:
    with pytest.raises(Forbidden) as caught:
        feed().opened(Answer(403, {}, b'{"code":"forbidden","needs":"read"}'))
    assert caught.value.needs == "read"
