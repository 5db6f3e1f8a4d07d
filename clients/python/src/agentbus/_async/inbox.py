"""An inbox that is iterated, on asyncio."""

from __future__ import annotations

from types import TracebackType

from typing_extensions import Self

from .._core.inbox import InboxReader
from .._models.message import Message
from .transport import AsyncTransport


class AsyncInbox:
    """The messages for one agent, oldest first, for ever. Waits for what comes, and survives outages.

    A message is acknowledged when the loop asks for the next one. If its handling raises, it comes again. With
    `async with`, the last message is also acknowledged, when the block ends without an error. Without it, the message
    that was being handled at a `break` comes again. Raises Forbidden or another ApiError if the server refuses it for
    good.
    """

    def __init__(self, transport: AsyncTransport, reader: InboxReader) -> None:
        self._transport = transport
        self._reader = reader

    async def ack(self) -> None:
        """Acknowledges the current message now. ConnectionFailed or Unavailable if that fails in the client's time."""
        await self._ack(forever=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        await self._ack(forever=True)
        while (message := self._reader.take()) is None:
            self._reader.fill(await self._transport.run(self._reader.page(), forever=True))
        return message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.ack()

    async def _ack(self, *, forever: bool) -> None:
        call = self._reader.ack()
        if call is not None:
            await self._transport.run(call, forever=forever)
        self._reader.done()
