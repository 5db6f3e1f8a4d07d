"""The state of an inbox that is iterated: what to read next, and what to acknowledge."""

from __future__ import annotations

from collections import deque

from .._models.agents import InboxState
from .._models.message import Message, Page
from ..content import Contents
from .calls import agents
from .limits import POLL
from .request import Call


class InboxReader:
    """One reader of an inbox. A message is in hand from `take` until `done`."""

    def __init__(self, agent: str, contents: Contents, *, broadcast: bool, page_size: int, ack: bool) -> None:
        self._agent = agent
        self._contents = contents
        self._broadcast = broadcast
        self._page_size = page_size
        self._acks = ack
        self._after: int | None = None
        self._waiting: deque[Message] = deque()
        self._in_hand: int | None = None

    def take(self) -> Message | None:
        """The next message, which is then in hand; None if a page is needed first."""
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._in_hand = self._after = message.seq
        return message

    def page(self) -> Call[Page]:
        """Gets the next page. Waits at the server if there is none."""
        return agents.inbox_page(
            self._agent,
            self._contents,
            after=self._after,
            limit=self._page_size,
            wait=POLL,
            broadcast=self._broadcast,
        )

    def fill(self, page: Page) -> None:
        """Takes a page. One that the server cut may be empty and have a next one."""
        self._waiting.extend(page.messages)
        if not page.messages and page.next is not None:
            self._after = page.next

    def ack(self) -> Call[InboxState] | None:
        """Acknowledges the message in hand; None if there is nothing to acknowledge."""
        if self._in_hand is None or not self._acks:
            return None
        return agents.inbox_ack(self._agent, self._in_hand)

    def done(self) -> None:
        """The message in hand is acknowledged."""
        self._in_hand = None
