"""Blocking functions beside an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Runs a function in a thread of its own, which does not keep the process alive.

    Cancelling this does not end the function: nothing can. Its result is then ignored.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # it is a T when there is no error

    def run() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = (context.run(function), None)
        except BaseException as error:
            # What ends threads and generators must not end the loop.
            ordinary = isinstance(error, Exception) and not isinstance(error, StopIteration)
            outcome = (None, error if ordinary else RuntimeError(repr(error)))
        # The loop may be over by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="agentbus-job", daemon=True).start()
    return await future
