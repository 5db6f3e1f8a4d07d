"""Work queues and their jobs."""

from __future__ import annotations

import builtins
import json
from datetime import datetime
from typing import Any, TypeVar

from pydantic import Field, PrivateAttr

from ..content import Contents
from .base import Document
from .message import ItemError

T = TypeVar("T")


class Queue(Document):
    """A queue: its rules, and how many jobs it holds. Times are in seconds."""

    queue: str
    lease_s: float = 0
    max_deliver: int = 0
    """After so many attempts a job becomes a dead letter."""
    backoff_s: list[float] = Field(default_factory=list)
    """The waits between attempts; the last one repeats."""
    waiting: int = 0
    leased: int = 0
    delayed: int = 0
    oldest_age_s: float | None = None
    dead_letters: int = 0


class Job(Document):
    """A leased job. It is this worker's alone until `lease_expires_at`, by the server's clock."""

    job_id: str
    type: str
    payload: Any = None
    priority: str = "normal"
    attempt: int = 1
    """The first one is 1."""
    enqueued_at: datetime | None = None
    traceparent: str | None = None
    """The trace of who enqueued it (W3C Trace Context), with `tracestate`. A worker runs its handler in it."""
    tracestate: str | None = None
    lease_token: str
    lease_expires_at: datetime

    _lease_s: int = PrivateAttr(default=0)

    @property
    def lease_s(self) -> int:
        """How long the lease lasts from the answer on, in whole seconds, to one; 0 if unknown."""
        return self._lease_s

    def as_(self, model: builtins.type[T]) -> T:
        """The payload as this model. ContentError if it does not fit: a worker then fails the job for good."""
        return Contents.read(self.type, json.dumps(self.payload), model)


class Lease(Document):
    """A lease that was extended."""

    lease_token: str
    lease_expires_at: datetime

    _lease_s: int = PrivateAttr(default=0)

    @property
    def lease_s(self) -> int:
        """How long it lasts from the answer on, in whole seconds, to one; 0 if unknown."""
        return self._lease_s


class JobAck(Document):
    """The acknowledgement of a job. `duplicate`: the queue had this id already."""

    job_id: str
    seq: int
    duplicate: bool = False


class JobResult(Document):
    """What became of one job of a batch: `status` is the HTTP status that it would have got alone."""

    status: int
    job_id: str | None = None
    seq: int | None = None
    duplicate: bool = False
    error: ItemError | None = None
