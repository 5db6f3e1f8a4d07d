"""The position of a stream across its connections.

It moves only by the id of an event. A message at or below it is not reported again.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Start: TypeAlias = int | Literal["start", "now"]
"""Where a stream begins: at this sequence, at the oldest message that is kept, or at the next one."""


class Cursor:
    """Where the next connection begins: after `after`, or at `start` as long as nothing was seen."""

    def __init__(self, start: Start | None, since: int | None) -> None:
        if start is not None and since is not None:
            raise ValueError("a stream begins at one place: from_ or since")
        self.start: Start = "now" if start is None else start
        self.after = since
        self._floor = since or 0

    def ready(self, id: int) -> None:
        """A connection is ready: nothing at or below `id` will be sent.

        A stream that waits for a sequence beyond the end of the log keeps asking for it: as a `Last-Event-ID` the
        server would take it for a cursor of another log.
        """
        self._floor = id
        if self.after is not None or not isinstance(self.start, int):
            self.after = id

    def advance(self, id: int) -> bool:
        """Moves to `id`. False, without a move, if it is there or beyond already."""
        if id <= self._floor:
            return False
        self._floor = self.after = id
        return True
