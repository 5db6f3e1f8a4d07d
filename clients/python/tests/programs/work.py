"""Works on a queue. Prints {"begun": job_id, "attempt"} when a handler starts.

Then {"acked": job_id, "attempt"} when the server has the acknowledgement ("nacked", "failed", "lost" or "unknown"
likewise). Ends on SIGTERM, in order, or after --count acknowledged jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Protocol

from common import FOREVER, report

from agentbus import Agentbus, AsyncAgentbus, Job


class Stoppable(Protocol):
    def stop(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--async", dest="is_async", action="store_true")
    parser.add_argument("--queue", required=True)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--worker", default="python")
    parser.add_argument("--takes-ms", type=float, default=0)
    parser.add_argument("--count", type=int, default=FOREVER)
    options = parser.parse_args()
    if options.is_async:
        asyncio.run(work_async(options))
    else:
        work(options)


class Ends:
    """Prints the ends of jobs, and stops the worker when it was enough."""

    def __init__(self, worker: Stoppable, count: float) -> None:
        self._worker, self._left = worker, count

    def __call__(self, job: Job, outcome: str) -> None:
        report(**{outcome: job.job_id}, attempt=job.attempt)
        self._left -= outcome == "acked"
        if self._left <= 0:
            self._worker.stop()


def work(options: argparse.Namespace) -> None:
    with Agentbus(timeout=FOREVER) as bus:
        worker = bus.worker(options.queue, concurrency=options.concurrency, name=options.worker)

        @worker.job()
        def run(job: Job) -> None:
            report(begun=job.job_id, attempt=job.attempt)
            time.sleep(options.takes_ms / 1000)

        worker.on_end(Ends(worker, options.count))
        worker.run()


async def work_async(options: argparse.Namespace) -> None:
    async with AsyncAgentbus(timeout=FOREVER) as bus:
        worker = bus.worker(options.queue, concurrency=options.concurrency, name=options.worker)

        @worker.job()
        async def run(job: Job) -> None:
            report(begun=job.job_id, attempt=job.attempt)
            await asyncio.sleep(options.takes_ms / 1000)

        worker.on_end(Ends(worker, options.count))
        await worker.run()


if __name__ == "__main__":
    main()
