"""The parser of Server-Sent Events."""

from __future__ import annotations

import pytest

from agentbus import UnexpectedAnswer
from agentbus._core.limits import EVENT_BYTES
from agentbus._core.sse import Block, SseParser

STREAM = (
    "\ufeffretry: 2000\nid: 4\nevent: ready\ndata: {}\n\n"
    ": a comment\n\n"
    "id: 5\r\nevent: task\r\ndata: five\r\ndata:  ü\r\n\r\n"
    "id:6\revent:heartbeat\r\r"
    "event: caught_up\ndata\nunknown: x\nretry: soon\nid: a\0b\n\n"
    "id: 7\ndata: never ended\n"
).encode()

BLOCKS = [
    Block("ready", "4", b"{}", 2000),
    Block("task", "5", "five\n ü".encode()),
    Block("heartbeat", "6"),
    Block("caught_up", None, b""),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_chunks_of_any_size(size: int) -> None:
    parser = SseParser()
    chunks = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [block for chunk in chunks for block in parser.feed(chunk)] == BLOCKS


def test_a_block_without_an_end_is_not_held_for_ever() -> None:
    parser = SseParser()
    part = b"x" * (EVENT_BYTES // 4)
    with pytest.raises(UnexpectedAnswer):
        for _ in range(6):
            list(parser.feed(b"data: " + part + b"\n"))
    parser = SseParser()
    with pytest.raises(UnexpectedAnswer):
        for _ in range(6):
            list(parser.feed(part))
