"""A consumer of a stream in a thread, with either client."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Literal

from agentbus import Agentbus, AgentbusError, AsyncAgentbus, AsyncStream, Event, Message, Stream

from .waiting import wait_for

Form = Literal["sync", "asyncio"]


class Follower:
    """Collects the events of a stream until `last`, a content. Its error, if one ends it, is in `error`."""

    def __init__(
        self,
        form: Form,
        url: str,
        *,
        last: str | None = None,
        key: str = "",
        silence: float = 45.0,
        busy: bool = False,
        **stream: Any,
    ) -> None:
        self.events: list[Event] = []
        self.error: AgentbusError | None = None
        self.stream: Stream | AsyncStream | None = None
        self.go_on = threading.Event()
        """While this is not set, the consumer is busy with its event."""
        self.go_on.set()
        if busy:
            self.go_on.clear()
        self._url, self._key, self._last, self._silence, self._start = url, key, last, silence, stream
        run = self._follow if form == "sync" else lambda: asyncio.run(self._follow_async())
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def contents(self) -> list[str]:
        return [event.content for event in self.events if isinstance(event, Message)]

    def wait(self, count: int) -> None:
        """Waits until so many events have come."""
        wait_for(lambda: len(self.events) >= count, f"{count} events")

    def finish(self) -> None:
        """Waits until the last message has come, or the stream has ended with an error."""
        self._thread.join(30)
        assert not self._thread.is_alive(), f"still waiting, after {self.contents[-1:]}"

    def _follow(self) -> None:
        try:
            with (
                Agentbus(self._url, self._key, silence=self._silence) as bus,
                bus.stream(**self._start) as stream,
            ):
                self.stream = stream
                for event in stream:
                    if self._is_last(event):
                        return
        except AgentbusError as error:
            self.error = error

    async def _follow_async(self) -> None:
        try:
            async with (
                AsyncAgentbus(self._url, self._key, silence=self._silence) as bus,
                bus.stream(**self._start) as stream,
            ):
                self.stream = stream
                async for event in stream:
                    if self._is_last(event):
                        return
        except AgentbusError as error:
            self.error = error

    def _is_last(self, event: Event) -> bool:
        self.events.append(event)
        self.go_on.wait()
        return isinstance(event, Message) and event.content == self._last
