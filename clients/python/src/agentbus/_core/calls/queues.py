"""Work queues and leases (contract, section 8)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TypeVar

from ..._models.queues import Job, JobAck, JobResult, Lease, Queue
from ..limits import PAGE, REASON_BYTES
from ..pages import Listing
from ..request import Answer, Call, Request, get, given, model, models, nothing, path, query, send

L = TypeVar("L", Job, Lease)


def set_queue(
    queue: str, lease_s: float | None, max_deliver: int | None, backoff_s: Sequence[float] | None
) -> Call[None]:
    """Makes a queue or changes its rules."""
    body = given(lease_s=lease_s, max_deliver=max_deliver, backoff_s=backoff_s)
    return send("PUT", path("queues", queue), body, nothing)


def queues() -> Listing[Queue]:
    """All queues, by name."""
    return Listing(path("queues"), "queues", Queue, {"limit": PAGE})


def queue(name: str) -> Call[Queue]:
    """One queue."""
    return get(path("queues", name), model(Queue))


def delete_queue(name: str, force: bool) -> Call[None]:
    """Deletes a queue."""
    return Call(Request("DELETE", path("queues", name), query({"force": force or None})), nothing)


def enqueue(queue: str, job: Mapping[str, object]) -> Call[JobAck]:
    """Puts one job into a queue. It has an id, so it may be repeated."""
    return send("POST", path("queues", queue, "jobs"), job, model(JobAck), safe=True)


def enqueue_batch(queue: str, lines: Sequence[bytes]) -> Call[list[JobResult]]:
    """Puts jobs that all have ids into a queue."""
    headers = {"content-type": "application/x-ndjson"}
    request = Request("POST", path("queues", queue, "jobs", "batch"), [], headers, b"\n".join(lines))
    return Call(request, models(JobResult, "results"), safe=True)


def lease(queue: str, max: int, wait_s: int, worker: str | None) -> Call[list[Job]]:
    """Leases jobs. If the answer is lost, its jobs come again when their leases run out."""
    body = given(max=max, wait_s=wait_s, worker=worker)
    call = send("POST", path("queues", queue, "lease"), body, _jobs, safe=True)
    return Call(call.request, call.read, safe=True, holds=wait_s)


def ack(token: str) -> Call[None]:
    """The job is done."""
    return send("POST", path("leases", token, "ack"), None, nothing, safe=True, lost_is_done=True)


def nack(token: str, delay_s: float | None, reason: str | None) -> Call[None]:
    """The job is tried again, after this delay or the queue's backoff."""
    body = given(delay_s=delay_s, reason=_cut(reason))
    return send("POST", path("leases", token, "nack"), body, nothing, safe=True)


def fail(token: str, reason: str | None) -> Call[None]:
    """The job is a dead letter now."""
    return send("POST", path("leases", token, "fail"), given(reason=_cut(reason)), nothing, safe=True)


def extend(token: str) -> Call[Lease]:
    """The lease lasts another `lease_s` from now."""
    return send("POST", path("leases", token, "extend"), None, _lease, safe=True)


def _jobs(answer: Answer) -> list[Job]:
    return [_timed(job, answer) for job in models(Job, "jobs")(answer)] if answer.body else []


def _lease(answer: Answer) -> Lease:
    return _timed(model(Lease)(answer), answer)


def _timed(lease: L, answer: Answer) -> L:
    """Sets how long the lease lasts, by the server's clock alone: the two clocks may differ.

    Its `Date` is in whole seconds and up to one too early.
    """
    try:
        now = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return lease
    lease._lease_s = max(0, math.floor((lease.lease_expires_at - now).total_seconds()))
    return lease


def _cut(reason: str | None) -> str | None:
    return None if reason is None else reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")
