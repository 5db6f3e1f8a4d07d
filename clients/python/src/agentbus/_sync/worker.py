"""A worker for blocking code. It has an event loop of its own, which leases, extends and ends leases."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from .._async.transport import AsyncTransport
from .._async.worker import AsyncWorker
from .._core.settings import Settings
from .._core.work import H, Observer


class Worker:
    """A worker of one queue. Make it with `worker`, give it handlers with `job`, and `run` it.

    A handler that returns acknowledges its job. An exception gives it back, to be tried again after the queue's
    backoff; `RetryLater` says when, `PermanentFailure` that it is a dead letter now, and so does content that does not
    fit its model. While a handler runs, its lease is extended, at each third of its time. A job can run twice: when the
    lease was lost, or an acknowledgement did not arrive.

    Each handler runs in a thread of its own.
    """

    def __init__(
        self,
        settings: Settings,
        verify: ssl.SSLContext | bool,
        queue: str,
        *,
        concurrency: int,
        name: str | None,
        grace: float,
    ) -> None:
        self._transport = AsyncTransport(settings, verify)
        self._worker = AsyncWorker(self._transport, queue, concurrency=concurrency, name=name, grace=grace)

    def job(self, type: str | None = None) -> Callable[[H], H]:
        """A decorator: the function is the handler of jobs of this type; without one, of all that have no other.

        Jobs without a handler are given back.
        """
        return self._worker.job(type)

    def on_end(self, observer: Observer) -> Observer:
        """Calls a function when the end of a job was recorded, with the job and the outcome. It must not block.

        The outcome is `acked`, `nacked`, `failed`, `lost` (the lease was over) or `unknown` (no answer).
        """
        return self._worker.on_end(observer)

    def stop(self) -> None:
        """Leases no more; `run` returns when the running handlers have ended, or after the grace.

        At the second call at once. Any thread may call it, a handler too.
        """
        self._worker.stop()

    def run(self, *, signals: bool = True) -> None:
        """Works until `stop`, through outages; once. With `signals`, SIGINT and SIGTERM stop it, in the main thread.

        Jobs whose handlers run longer than the grace are given back, and their threads left behind. Raises Forbidden
        and the like if the server refuses the worker for good.
        """
        asyncio.run(self._run(signals))

    async def _run(self, signals: bool) -> None:
        try:
            await self._worker.run(signals=signals)
        finally:
            await self._transport.close()
