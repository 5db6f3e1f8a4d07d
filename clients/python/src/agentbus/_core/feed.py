"""The state of a stream across its connections: what to ask for, what to report, when to come back.

Invariant: each message that the filters select is reported once, in order, however often the connection is lost.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import ValidationError

from .._models.message import Gap, Message
from ..errors import AgentbusError, Unauthenticated, UnexpectedAnswer
from .backoff import Backoff
from .cursor import Cursor
from .faults import faults
from .limits import RECONNECT
from .request import Answer, Request, path, query
from .sse import Block, SseParser

log = logging.getLogger("agentbus")

Event: TypeAlias = Message | Gap

_OK = 200
_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY = 408, 425, 429


class Feed:
    """One stream. Feed it answers and chunks, and take the events."""

    def __init__(self, filters: Mapping[str, Any], cursor: Cursor, read: Callable[[bytes], Message]) -> None:
        self._filters = query(filters)
        self._connection = cursor
        self._read = read
        self._parser = SseParser()
        self._backoff = Backoff(RECONNECT)
        self._outage = False
        self._waiting: deque[tuple[int | None, Event | None]] = deque()
        self._end: AgentbusError | None = None
        self.cursor = cursor.after
        """Everything up to this sequence was taken or filtered out; None if that is not known yet."""
        self.caught_up: bool = False
        """Whether the replay of what was there at the start is over."""

    def request(self) -> Request:
        """The request of the next connection."""
        headers = {"accept": "text/event-stream", "accept-encoding": "identity", "cache-control": "no-store"}
        if self._connection.after is None:
            return Request("GET", path("stream"), [*self._filters, ("from", str(self._connection.start))], headers)
        headers["last-event-id"] = str(self._connection.after)
        return Request("GET", path("stream"), self._filters, headers)

    def opened(self, answer: Answer) -> float | None:
        """A connection was answered. None if it is a stream, else how long to wait; or raises what ends the stream.

        The body is needed only if the status is not 200.
        """
        if answer.status == _OK:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise UnexpectedAnswer("the answer is not an event stream")
            self._parser = SseParser()
            return None
        error = answer.error()
        if answer.status < 500 and answer.status not in {_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY}:  # noqa: PLR2004
            raise error
        return self.lost(str(error), error.retry_after)

    def lost(self, reason: str, asked_for: float | None = None) -> float:
        """There is no connection. Returns how long to wait before the next one."""
        wait = self._backoff.next_wait(asked_for)
        if not self._outage:
            log.warning("stream lost: %s; resuming after %s", reason, self._connection.after)
        self._outage = True
        return wait

    def receive(self, chunk: bytes) -> None:
        """Takes bytes of the connection."""
        for block in self._parser.feed(chunk):
            if block.retry is not None:
                self._backoff.base = block.retry / 1000
            if self._end is None:
                self._receive(block)

    def take(self) -> Event | None:
        """The next event; None if bytes are needed first. Raises what ended the stream after its last event."""
        while self._waiting:
            id, event = self._waiting.popleft()
            self.cursor = self.cursor if id is None else id
            if event is not None:
                return event
        if self._end is not None:
            raise self._end
        return None

    def _receive(self, block: Block) -> None:
        id = self._id(block)
        if block.name == "ready" and id is not None:
            self._ready(id, self._object(block))
        elif block.name == "gap":
            self._waiting.append((None, self._gap(block)))
        elif block.name == "caught_up":
            self.caught_up = True
        elif block.name == "denied":
            problem = {
                "detail": "the server has ended the stream: the key is no longer valid",
                **self._object(block),
            }
            self._end = Unauthenticated(401, problem)
        elif id is not None and self._connection.advance(id):
            # A message of any kind; without data a heartbeat.
            self._waiting.append((id, None if block.data is None else self._read(block.data)))
            self._backoff.reset()

    def _ready(self, id: int, ready: Mapping[str, Any]) -> None:
        self._connection.ready(id)
        self._waiting.append((self._connection.after, None))
        self.caught_up |= not ready.get("replaying", False)
        self._backoff.reset()
        if self._outage:
            log.info("stream resumed after %s", id)
        self._outage = False

    @staticmethod
    def _id(block: Block) -> int | None:
        if not block.id:
            return None
        if not (block.id.isascii() and block.id.isdigit()):
            raise UnexpectedAnswer(f"the stream has an id that is no sequence: {block.id!r}")
        return int(block.id)

    @staticmethod
    def _object(block: Block) -> dict[str, Any]:
        try:
            value = json.loads(block.data or b"{}")
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise UnexpectedAnswer(f"the stream has an event that cannot be read: {block.name}")
        return value

    def _gap(self, block: Block) -> Gap:
        try:
            return Gap.model_validate(self._object(block))
        except ValidationError as error:
            raise UnexpectedAnswer(f"the stream has a gap that cannot be read: {faults(error)}") from None
