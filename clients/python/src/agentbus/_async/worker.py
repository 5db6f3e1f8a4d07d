"""A worker: leases jobs of a queue, runs their handlers, extends leases, ends them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from .._core.calls import queues
from .._core.limits import LEASE_JOBS, POLL, RELEASE
from .._core.trace import continued
from .._core.work import STOPPED, End, H, Handlers, Observer, extend_after, log, release, settle
from .._models.queues import Job, Lease
from ..errors import AgentbusError, LeaseLost
from .signals import stops_on_signals
from .threads import in_thread
from .transport import AsyncTransport


class AsyncWorker:
    """A worker of one queue. Make it with `worker`, give it handlers with `job`, and `run` it.

    A handler that returns acknowledges its job. An exception gives it back, to be tried again after the queue's
    backoff; `RetryLater` says when, `PermanentFailure` that it is a dead letter now, and so does content that does not
    fit its model. While a handler runs, its lease is extended, at each third of its time. A job can run twice: when the
    lease was lost, or an acknowledgement did not arrive.

    `def` handlers run in threads, `async def` ones in the event loop.
    """

    def __init__(
        self, transport: AsyncTransport, queue: str, *, concurrency: int, name: str | None, grace: float
    ) -> None:
        if concurrency < 1:
            raise ValueError("a worker runs at least one job at a time")
        self._transport = transport
        self._queue = queue
        self._concurrency = concurrency
        self._name = name
        self._grace = grace
        self._handlers = Handlers()
        self._observers: list[Observer] = []
        self._running: dict[asyncio.Task[None], Job] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()

    def job(self, type: str | None = None) -> Callable[[H], H]:
        """A decorator: the function is the handler of jobs of this type; without one, of all that have no other.

        Jobs without a handler are given back.
        """
        return self._handlers.register(type)

    def on_end(self, observer: Observer) -> Observer:
        """Calls a function, in the event loop, when the end of a job was recorded: with the job and the outcome.

        The outcome is `acked`, `nacked`, `failed`, `lost` (the lease was over) or `unknown` (no answer).
        """
        self._observers.append(observer)
        return observer

    def stop(self) -> None:
        """Leases no more; `run` returns when the running handlers have ended, or after the grace.

        At the second call at once. Any thread may call it, a handler too.
        """
        loop = self._loop
        if loop is None:
            self._stop()
        else:
            # The loop may be over by now.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._stop)

    async def run(self, *, signals: bool = True) -> None:
        """Works until `stop`, and through outages. With `signals`, SIGINT and SIGTERM stop it, in the main thread.

        Handlers that run longer than the grace are cancelled (threads are left behind), and their jobs given back.
        Raises Forbidden and the like if the server refuses the worker for good.
        """
        self._loop = asyncio.get_running_loop()
        with stops_on_signals(self._loop, self._stop) if signals else contextlib.nullcontext():
            try:
                await self._lease()
            except asyncio.CancelledError:
                self._hurrying.set()
                raise
            finally:
                await self._finish()

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    async def _lease(self) -> None:
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                free = self._concurrency - len(self._running)
                if free:
                    await self._lease_up_to(free, stopping)
                else:
                    await asyncio.wait([stopping, *self._running], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _lease_up_to(self, free: int, stopping: asyncio.Future[Any]) -> None:
        call = queues.lease(self._queue, min(free, LEASE_JOBS), POLL, self._name)
        leasing: asyncio.Future[Any] = asyncio.ensure_future(self._transport.run(call, forever=True))
        try:
            await asyncio.wait([stopping, leasing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leasing.cancel()
        await asyncio.wait([leasing])
        for job in [] if leasing.cancelled() else leasing.result():
            if self._stopping.is_set():
                await self._end(job, release(job))
            else:
                self._start(job)

    def _start(self, job: Job) -> None:
        task = asyncio.ensure_future(self._work(job))
        self._running[task] = job
        task.add_done_callback(lambda task: self._running.pop(task, None))

    async def _work(self, job: Job) -> None:
        extending = asyncio.ensure_future(self._extend(job))
        try:
            end = settle(job, await self._handle(job))
        except asyncio.CancelledError:
            log.warning("job %s (%s): given back: %s", job.job_id, job.type, STOPPED)
            end = release(job)
        try:
            await self._end(job, end)
        finally:
            extending.cancel()

    async def _handle(self, job: Job) -> Exception | None:
        """Runs the handler. Returns what it raised."""
        try:
            handler = self._handlers.find(job)
            with continued(job.traceparent, job.tracestate):
                if inspect.iscoroutinefunction(handler):
                    await handler(job)
                else:
                    result = await in_thread(lambda: handler(job))
                    if inspect.isawaitable(result):
                        await result
        except Exception as error:
            return error
        return None

    async def _extend(self, job: Job) -> None:
        lease: Job | Lease = job
        while True:
            await asyncio.sleep(extend_after(lease))
            try:
                lease = await self._transport.run(queues.extend(job.lease_token))
            except LeaseLost:
                log.warning("job %s (%s): the lease is lost: it may run twice", job.job_id, job.type)
                return
            except AgentbusError as error:
                log.warning("job %s (%s): the lease was not extended: %s", job.job_id, job.type, error)

    async def _end(self, job: Job, end: End) -> None:
        outcome = end.outcome
        try:
            await self._transport.run(end.call)
        except LeaseLost:
            log.warning("job %s (%s) ended after its lease: it may run twice", job.job_id, job.type)
            outcome = "lost"
        except AgentbusError as error:
            log.error("job %s (%s): its end was not recorded, it runs again: %s", job.job_id, job.type, error)
            outcome = "unknown"
        for observer in self._observers:
            try:
                observer(job, outcome)
            except Exception:
                log.exception("an observer of the ends of jobs failed")

    async def _finish(self) -> None:
        """Waits for running handlers, and gives back the jobs of those that do not end in time."""
        hurrying = asyncio.ensure_future(self._hurrying.wait())
        deadline = asyncio.get_running_loop().time() + self._grace
        while self._running and not hurrying.done():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait([hurrying, *self._running], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        unfinished = list(self._running)
        for task in unfinished:
            task.cancel()
        if unfinished:
            _, stuck = await asyncio.wait(unfinished, timeout=RELEASE)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
