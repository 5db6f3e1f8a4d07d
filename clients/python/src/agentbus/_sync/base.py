"""What the parts of the client share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .._core.batches import Batch, R, split
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

    def _run_batches(self, items: Iterable[Mapping[str, Any]], call: Callable[[list[bytes]], Call[list[R]]]) -> list[R]:
        results: list[R] = []
        for lines in split(items):
            batch = Batch(lines, call, self._transport.settings.timeout)
            while (wait := batch.receive(self._run(batch.call()))) is not None:
                time.sleep(wait)
            results += batch.results()
        return results
