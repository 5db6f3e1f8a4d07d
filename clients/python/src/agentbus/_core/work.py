"""What a worker does with a job: which handler it gets, what its end means, when its lease is extended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from .._models.queues import Job, Lease
from ..errors import ContentError, PermanentFailure, RetryLater
from .calls import queues
from .request import Call

log = logging.getLogger("agentbus")

Handler: TypeAlias = Callable[[Job], object]
"""A function of a job, `def` or `async def`. Its result is ignored."""

H = TypeVar("H", bound=Handler)

Outcome: TypeAlias = Literal["acked", "nacked", "failed", "lost", "unknown"]
"""How a job ended: done, given back, failed for good; its lease was over; or no answer came, so it may run again."""

Observer: TypeAlias = Callable[[Job, Outcome], object]

STOPPED = "the worker stopped"
_SHORTEST_LEASE_S = 1.0


class Handlers:
    """The handlers of a worker, by type of job."""

    def __init__(self) -> None:
        self._by_type: dict[str | None, Handler] = {}

    def register(self, type: str | None) -> Callable[[H], H]:
        """A decorator that makes a function the handler of a type; None for all types without one."""

        def decorate(handler: H) -> H:
            self._by_type[type] = handler
            return handler

        return decorate

    def find(self, job: Job) -> Handler:
        """The handler of a job. RetryLater if there is none: another worker may have one."""
        handler = self._by_type.get(job.type) or self._by_type.get(None)
        if handler is None:
            raise RetryLater(f"this worker has no handler for jobs of type {job.type}")
        return handler


@dataclass(frozen=True)
class End:
    """The end of a job, and the call that records it."""

    outcome: Outcome
    call: Call[None]


def settle(job: Job, error: Exception | None) -> End:
    """How a job ends whose handler raised this, or returned."""
    token = job.lease_token
    if error is None:
        return End("acked", queues.ack(token))
    if isinstance(error, RetryLater):
        log.info("job %s (%s), attempt %s: again later: %s", job.job_id, job.type, job.attempt, error)
        return End("nacked", queues.nack(token, error.delay_s, str(error) or None))
    if isinstance(error, (PermanentFailure, ContentError)):
        log.warning("job %s (%s), attempt %s: failed for good: %s", job.job_id, job.type, job.attempt, error)
        return End("failed", queues.fail(token, str(error) or None))
    log.warning("job %s (%s), attempt %s: failed", job.job_id, job.type, job.attempt, exc_info=error)
    return End("nacked", queues.nack(token, None, f"{type(error).__name__}: {error}"))


def release(job: Job) -> End:
    """Gives a job back at once."""
    return End("nacked", queues.nack(job.lease_token, 0, STOPPED))


def extend_after(lease: Job | Lease) -> float:
    """After how many seconds to extend a lease: a third of its time."""
    return max(lease.lease_s, _SHORTEST_LEASE_S) / 3
