"""A stream that resumes by itself, on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType

import httpx
from typing_extensions import Self

from .._core import http
from .._core.feed import Event, Feed, log
from .._models.message import Gap, Message
from .transport import AsyncTransport


class AsyncStream:
    """The messages that pass the filters, each once and in order, and gaps, for ever.

    It reconnects whenever the connection is lost, with its cursor. It reads no further than you do. Raises
    Unauthenticated, Forbidden, NotFound, Invalid or another ApiError if the server refuses it for good, also later,
    when its key is revoked. Cancelling a wait for the next event loses none: the stream resumes. Use it in one task.
    `async with` closes its connection; so does the end of the client.
    """

    def __init__(self, transport: AsyncTransport, feed: Feed) -> None:
        self._transport = transport
        self._feed = feed
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes]
        self._closed = False

    @property
    def cursor(self) -> int | None:
        """Everything up to this sequence was yielded or filtered out: the `since` of a later stream."""
        return self._feed.cursor

    @property
    def caught_up(self) -> bool:
        """Whether the messages that were there at the start have all been received."""
        return self._feed.caught_up

    async def messages(self) -> AsyncIterator[Message]:
        """The messages alone; gaps are warnings in the log."""
        async for event in self:
            if isinstance(event, Gap):
                log.warning("%s", event)
            else:
                yield event

    async def close(self) -> None:
        """Ends the stream: no more events come."""
        self._closed = True
        await self._disconnect()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._closed:
            event = self._feed.take()
            if event is not None:
                return event
            await self._read()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _read(self) -> None:
        """Reads once, or reconnects."""
        wait: float | None
        try:
            wait = await (self._connect() if self._response is None else self._receive())
        except httpx.RequestError as error:
            wait = self._feed.lost(http.reason(error))
        except BaseException:
            await self._disconnect()
            raise
        if wait is not None:
            await self._disconnect()
            await asyncio.sleep(wait)

    async def _connect(self) -> float | None:
        self._response = await self._transport.open(self._feed.request())
        self._chunks = self._response.aiter_bytes()
        answer = http.head(self._response)
        if answer.status != httpx.codes.OK:
            await self._response.aread()
            answer = http.whole(self._response)
        wait = self._feed.opened(answer)
        if wait is None:
            await self._transport.greet()
        return wait

    async def _receive(self) -> float | None:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            return self._feed.lost("the server ended the connection")
        self._feed.receive(chunk)
        return None

    async def _disconnect(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()
