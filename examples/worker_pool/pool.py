"""Two workers share a queue. One job fails once and is tried again, one can never be done."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from agentbus import AsyncAgentbus, AsyncWorker, Job, PermanentFailure

QUEUE = "examples-builds"
TARGETS = ["lexer", "parser", "typer", "linker", "docs"]


async def build(job: Job) -> None:
    """Does one job. A job can run twice, so what it does must bear a repeat."""
    await asyncio.sleep(0.1)  # the work
    if job.payload["target"] == "parser" and job.attempt == 1:
        raise ConnectionError("the mirror did not answer")
    if job.payload["target"] == "linker":
        raise PermanentFailure("no such target")


class Pool:
    """Workers that stop when these jobs have ended."""

    def __init__(self, bus: AsyncAgentbus, jobs: set[str]) -> None:
        self.left = set(jobs)
        self.workers = [self.worker(bus, f"worker-{number}") for number in (1, 2)]

    def worker(self, bus: AsyncAgentbus, name: str) -> AsyncWorker:
        """A worker that runs two jobs at a time."""
        worker = bus.worker(QUEUE, concurrency=2, name=name)
        worker.job("build")(build)
        worker.on_end(partial(self.ended, name))
        return worker

    def ended(self, name: str, job: Job, outcome: str) -> None:
        """An attempt has ended. After the last one of the last job all stop."""
        print(f"{name}: {job.payload['target']}, attempt {job.attempt}: {outcome}")
        if outcome in {"acked", "failed"} and job.job_id in self.left:
            self.left.remove(job.job_id)
            if not self.left:
                for worker in self.workers:
                    worker.stop()

    async def run(self) -> None:
        """Works until all jobs have ended."""
        await asyncio.gather(*(worker.run(signals=False) for worker in self.workers))


async def main() -> None:
    """Enqueues the jobs, runs the pool, and prints what became of them."""
    logging.getLogger("agentbus").setLevel(logging.ERROR)  # failed attempts are warnings, and are printed here
    async with AsyncAgentbus() as bus:
        await bus.set_queue(QUEUE, max_deliver=3, backoff_s=[0.5])
        jobs = {(await bus.enqueue(QUEUE, "build", {"target": target})).job_id for target in TARGETS}
        await Pool(bus, jobs).run()
        dead = [
            letter async for letter in bus.dead_letters(source=QUEUE) if letter.job and letter.job["job_id"] in jobs
        ]
        print(f"{len(jobs) - len(dead)} jobs are done")
        for letter in dead:
            print(f"dead letter: {letter.job['payload']['target']}: {letter.reason}")


if __name__ == "__main__":
    asyncio.run(main())
