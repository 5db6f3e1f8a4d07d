"""An inbox that is iterated, blocking."""

from __future__ import annotations

from types import TracebackType

from typing_extensions import Self

from .._core.inbox import InboxReader
from .._models.message import Message
from .transport import Transport


class Inbox:
    """The messages for one agent, oldest first, for ever. Waits for what comes, and survives outages.

    A message is acknowledged when the loop asks for the next one. If its handling raises, it comes again. With
    `with`, the last message is also acknowledged, when the block ends without an error. Without it, the message
    that was being handled at a `break` comes again. Raises Forbidden or another ApiError if the server refuses it for
    good.
    """

    def __init__(self, transport: Transport, reader: InboxReader) -> None:
        self._transport = transport
        self._reader = reader

    def ack(self) -> None:
        """Acknowledges the current message now. ConnectionFailed or Unavailable if that fails in the client's time."""
        self._ack(forever=False)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        self._ack(forever=True)
        while (message := self._reader.take()) is None:
            self._reader.fill(self._transport.run(self._reader.page(), forever=True))
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.ack()

    def _ack(self, *, forever: bool) -> None:
        call = self._reader.ack()
        if call is not None:
            self._transport.run(call, forever=forever)
        self._reader.done()
