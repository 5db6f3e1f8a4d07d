"""The history, page by page."""

from __future__ import annotations

from .._models.message import Message
from ..content import Contents
from .calls import messages
from .fields import HistoryFilters
from .request import Answer, Call


class History:
    """The pages of a history, in either order. `next` tells where a page ends, not the number of its messages."""

    def __init__(self, filters: HistoryFilters, page_size: int, contents: Contents) -> None:
        self._filters = filters.copy()
        self._page_size = page_size
        self._contents = contents
        self.more = True
        """Whether there may be another page."""

    def call(self) -> Call[list[Message]]:
        """Gets the next page."""
        call = messages.page(self._filters, self._page_size, self._contents)

        def read(answer: Answer) -> list[Message]:
            page = call.read(answer)
            self.more = page.next is not None
            if page.next is not None:
                self._filters["before" if self._filters.get("order") == "desc" else "after"] = page.next
            return page.messages

        return Call(call.request, read, safe=True)
