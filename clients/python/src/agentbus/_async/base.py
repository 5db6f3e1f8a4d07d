"""What the parts of the client share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .._core.batches import Batch, R, split
from ..content import Contents

if TYPE_CHECKING:
    from .._core.pages import Pages
    from .._core.request import Call
    from .transport import AsyncTransport

T = TypeVar("T")


class AsyncBase:
    """A client's connections, and the models of its content."""

    _transport: AsyncTransport
    _contents: Contents

    async def _run(self, call: Call[T]) -> T:
        return await self._transport.run(call)

    async def _each(self, pages: Pages[T]) -> AsyncIterator[T]:
        while pages.more:
            for item in await self._run(pages.call()):
                yield item

    async def _run_batches(
        self, items: Iterable[Mapping[str, Any]], call: Callable[[list[bytes]], Call[list[R]]]
    ) -> list[R]:
        results: list[R] = []
        for lines in split(items):
            batch = Batch(lines, call, self._transport.settings.timeout)
            while (wait := batch.receive(await self._run(batch.call()))) is not None:
                await asyncio.sleep(wait)
            results += batch.results()
        return results


async def first(items: AsyncIterator[T], count: int | None) -> AsyncIterator[T]:
    """The first items; all with None."""
    left = count
    while left is None or left > 0:
        try:
            yield await anext(items)
        except StopAsyncIteration:
            return
        left = None if left is None else left - 1
