"""What the parts of the client share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from ..content import Contents

if TYPE_CHECKING:
    from .._core.pages import Pages
    from .._core.request import Call
    from .transport import Transport

T = TypeVar("T")


class Base:
    """A client's connections, and the models of its content."""

    _transport: Transport
    _contents: Contents

    def _run(self, call: Call[T]) -> T:
        return self._transport.run(call)

    def _each(self, pages: Pages[T]) -> Iterator[T]:
        while pages.more:
            yield from self._run(pages.call())
