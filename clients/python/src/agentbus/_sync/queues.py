"""Calls for work queues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .._core.calls import queues
from .._core.fields import NewJob, Priority
from .._models.queues import Job, JobAck, JobResult, Lease, Queue
from .base import Base


class QueueCalls(Base):
    """Work queues (contract, section 8). Times are in seconds.

    `worker` leases, extends and ends leases for you.
    """

    def set_queue(
        self,
        queue: str,
        *,
        lease_s: float | None = None,
        max_deliver: int | None = None,
        backoff_s: Sequence[float] | None = None,
    ) -> None:
        """Makes a queue or changes its rules. What is left out gets its default: 30 s, 3 attempts, 1, 5 and 30 s."""
        self._run(queues.set_queue(queue, lease_s, max_deliver, backoff_s))

    def queues(self) -> Iterator[Queue]:
        """All queues, by name."""
        return self._each(queues.queues())

    def queue(self, queue: str) -> Queue:
        """One queue. NotFound if it was never made or used."""
        return self._run(queues.queue(queue))

    def delete_queue(self, queue: str, *, force: bool = False) -> None:
        """Deletes an empty queue; with `force` also the jobs that wait. Conflict if it holds jobs, or leased ones."""
        self._run(queues.delete_queue(queue, force))

    def enqueue(
        self,
        queue: str,
        type: str,
        payload: Any = None,
        *,
        priority: Priority | None = None,
        delay_s: float | None = None,
        id: str | None = None,
    ) -> JobAck:
        """Puts a job into a queue, and repeats that under the same id until it is acknowledged.

        `payload` is any JSON value or pydantic model. Conflict if the id belongs to another job.
        """
        job = NewJob(type, payload, priority=priority, delay_s=delay_s, id=id)
        return self._run(queues.enqueue(queue, job.members()))

    def enqueue_many(self, queue: str, jobs: Iterable[NewJob]) -> list[JobResult]:
        """Puts jobs into a queue in batches of 1,000 and 8 MiB at most, in order. One result each, in order."""
        members = (job.members() for job in jobs)
        return self._run_batches(members, lambda lines: queues.enqueue_batch(queue, lines))

    def lease(self, queue: str, *, max: int = 1, wait_s: int = 0, worker: str | None = None) -> list[Job]:
        """Leases 1 to `max` (1,000) jobs, and waits for the first for 0 to 60 whole seconds; empty if none came."""
        return self._run(queues.lease(queue, max, wait_s, worker))

    def ack(self, job: Job | str) -> None:
        """The job (or the one of this lease token) is done. LeaseLost if the lease is over."""
        self._run(queues.ack(_token(job)))

    def nack(self, job: Job | str, *, delay_s: float | None = None, reason: str | None = None) -> None:
        """The job is tried again, after `delay_s` or the queue's backoff. LeaseLost if the lease is over."""
        self._run(queues.nack(_token(job), delay_s, reason))

    def fail(self, job: Job | str, *, reason: str | None = None) -> None:
        """The job is a dead letter now. LeaseLost if the lease is over."""
        self._run(queues.fail(_token(job), reason))

    def extend(self, job: Job | str) -> Lease:
        """The lease lasts the queue's `lease_s` from now. LeaseLost if it is over."""
        return self._run(queues.extend(_token(job)))


def _token(job: Job | str) -> str:
    return job.lease_token if isinstance(job, Job) else job
