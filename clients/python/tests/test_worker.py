"""Workers: how jobs are leased, kept and ended."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

from agentbus import (
    Agentbus,
    AsyncAgentbus,
    AsyncWorker,
    Forbidden,
    Job,
    LeaseLost,
    NewJob,
    PermanentFailure,
    RetryLater,
    Worker,
)
from agentbus._async.transport import AsyncTransport
from agentbus._core.request import Call, Request
from agentbus.testing import Server

from .conftest import ROOT_KEY
from .proxy import Proxy
from .waiting import wait_for

_PROGRAM = Path(__file__).parent / "programs" / "work.py"


class Running:
    """A worker that runs in a thread until the test ends."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.ends: list[tuple[str, str]] = []
        """The types of jobs that ended, with the outcomes."""
        self.error: Exception | None = None
        worker.on_end(lambda job, outcome: self.ends.append((job.type, outcome)))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the worker does not stop"

    def _run(self) -> None:
        try:
            self.worker.run()
        except Exception as error:
            self.error = error


@pytest.fixture
def running(agentbus: Agentbus) -> Any:
    """Makes workers of the queue q, and stops them."""
    made: list[Running] = []

    def make(**options: Any) -> Running:
        made.append(Running(agentbus.worker("q", **options)))
        return made[-1]

    yield make
    for each in made:
        each.worker.stop()
        each.worker.stop()
        each.join()


Make = Callable[..., Running]


def test_a_worker_runs_as_many_jobs_as_it_may_and_no_more(agentbus: Agentbus, running: Make) -> None:
    agentbus.enqueue_many("q", [NewJob("build", n) for n in range(6)])
    held, most, active, lock = threading.Event(), 0, 0, threading.Lock()
    run = running(concurrency=3)

    @run.worker.job("build")
    def build(_: Job) -> None:
        nonlocal most, active
        with lock:
            active += 1
            most = max(most, active)
        held.wait()
        with lock:
            active -= 1

    run.start()
    wait_for(lambda: active == 3, "three jobs at once")
    assert agentbus.queue("q").leased == 3
    held.set()
    wait_for(lambda: len(run.ends) == 6, "six ends")
    assert most == 3
    assert set(run.ends) == {("build", "acked")}


def test_a_lease_is_extended_while_its_job_runs(agentbus: Agentbus, running: Make) -> None:
    agentbus.set_queue("q", lease_s=1)
    agentbus.enqueue("q", "slow")
    run = running(concurrency=2)
    attempts: list[int] = []
    held = threading.Event()

    @run.worker.job("slow")
    def slow(job: Job) -> None:
        attempts.append(job.attempt)
        held.wait()

    run.start()
    wait_for(lambda: attempts, "the job")
    expires_by = time.monotonic() + 3
    wait_for(lambda: time.monotonic() > expires_by, "three times the lease")
    held.set()
    wait_for(lambda: run.ends, "an end")
    assert (run.ends, attempts) == ([("slow", "acked")], [1])


def test_ends_by_what_a_handler_raises(agentbus: Agentbus, running: Make) -> None:
    class Build(BaseModel):
        target: str

    agentbus.set_queue("q", backoff_s=[0], max_deliver=2)
    run = running()

    @run.worker.job("flaky")
    def flaky(job: Job) -> None:
        if job.attempt == 1:
            raise OSError("not yet")

    @run.worker.job("later")
    def later(job: Job) -> None:
        if job.attempt == 1:
            raise RetryLater("busy", delay_s=0)

    @run.worker.job("hopeless")
    def hopeless(_: Job) -> None:
        raise PermanentFailure("no such target")

    @run.worker.job("typed")
    def typed(job: Job) -> None:
        assert job.as_(Build).target

    agentbus.enqueue_many("q", [NewJob("flaky"), NewJob("later"), NewJob("hopeless"), NewJob("typed", {"target": 7})])
    run.start()
    wait_for(lambda: len(run.ends) == 6, "six ends")
    assert sorted(run.ends) == [
        ("flaky", "acked"),
        ("flaky", "nacked"),
        ("hopeless", "failed"),
        ("later", "acked"),
        ("later", "nacked"),
        ("typed", "failed"),
    ]
    wait_for(lambda: len(list(agentbus.dead_letters(source="q"))) == 2, "two dead letters")
    errors = [letter.attempts[-1].error for letter in agentbus.dead_letters(source="q")]
    assert any("no such target" in error for error in errors)
    assert any("Input should be a valid string" in error for error in errors)


def test_whatever_a_handler_does_the_worker_goes_on(agentbus: Agentbus, running: Make) -> None:
    agentbus.set_queue("q", max_deliver=1)
    agentbus.enqueue_many("q", [NewJob("exits"), NewJob("stops"), NewJob("hidden"), NewJob("good")])
    run = running()
    awaited: list[str] = []

    @run.worker.job("exits")
    def exits(_: Job) -> None:
        sys.exit(3)

    @run.worker.job("stops")
    def stops(_: Job) -> None:
        next(iter(()))

    async def later(job: Job) -> None:
        awaited.append(job.type)

    @run.worker.job()
    def hidden(job: Job) -> object:
        return later(job)

    @run.worker.on_end
    def broken(_job: Job, _outcome: str) -> None:
        raise OSError("no disk")

    run.start()
    wait_for(lambda: len(run.ends) == 4, "four ends")
    assert run.ends == [("exits", "nacked"), ("stops", "nacked"), ("hidden", "acked"), ("good", "acked")]
    assert awaited == ["hidden", "good"]


def test_a_payload_that_does_not_fit_is_not_in_the_log(
    agentbus: Agentbus, running: Make, caplog: pytest.LogCaptureFixture
) -> None:
    agentbus.enqueue("q", "typed", {"secret": "hunter2"})
    run = running()

    @run.worker.job("typed")
    def typed(job: Job) -> None:
        job.as_(list[int])

    run.start()
    wait_for(lambda: run.ends, "an end")
    assert run.ends == [("typed", "failed")]
    assert "Input should be a valid" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_worker_that_runs_nothing(agentbus: Agentbus) -> None:
    with pytest.raises(ValueError, match="at least one"):
        agentbus.worker("q", concurrency=0)


def test_a_job_that_always_fails_is_a_dead_letter_with_its_errors(agentbus: Agentbus, running: Make) -> None:
    agentbus.set_queue("q", backoff_s=[0], max_deliver=2)
    agentbus.enqueue("q", "broken")
    agentbus.enqueue("q", "unknown")
    run = running()

    @run.worker.job("broken")
    def broken(job: Job) -> None:
        raise ValueError(f"try {job.attempt}")

    run.start()
    wait_for(lambda: len(list(agentbus.dead_letters(source="q"))) == 2, "two dead letters")
    errors = {
        letter.job["type"]: [attempt.error for attempt in letter.attempts]
        for letter in (agentbus.dead_letter(each.id) for each in agentbus.dead_letters(source="q"))
        if letter.job
    }
    assert [error[-17:] for error in errors["broken"]] == ["ValueError: try 1", "ValueError: try 2"]
    assert "no handler for jobs of type unknown" in errors["unknown"][0]


def test_a_stopped_worker_ends_what_runs_and_leases_no_more(agentbus: Agentbus, running: Make) -> None:
    agentbus.enqueue_many("q", [NewJob("build", n) for n in range(5)])
    run = running()
    begun: list[Job] = []
    held = threading.Event()

    @run.worker.job("build")
    def build(job: Job) -> None:
        begun.append(job)
        held.wait()

    run.start()
    wait_for(lambda: begun, "a job")
    run.worker.stop()
    held.set()
    run.join()
    assert run.ends == [("build", "acked")]
    state = agentbus.queue("q")
    assert (state.waiting, state.leased) == (4, 0)


def test_a_job_that_outlasts_the_grace_is_given_back(agentbus: Agentbus, running: Make) -> None:
    agentbus.enqueue("q", "endless")
    run = running(grace=0.2)
    begun, held = threading.Event(), threading.Event()

    @run.worker.job("endless")
    def endless(_: Job) -> None:
        begun.set()
        held.wait()

    run.start()
    begun.wait(20)
    run.worker.stop()
    run.join()
    held.set()
    assert run.ends == [("endless", "nacked")]
    # Not after the end of its lease: at once.
    (job,) = agentbus.lease("q", wait_s=5)
    assert job.attempt == 2


@pytest.mark.parametrize("form", [[], ["--async"]], ids=["sync", "asyncio"])
def test_sigterm_stops_a_worker_in_order(form: list[str], agentbus_server: Server, agentbus: Agentbus) -> None:
    agentbus.enqueue_many("q", [NewJob("build") for _ in range(3)])
    command = [sys.executable, str(_PROGRAM), "--queue", "q", "--takes-ms", "1500", *form]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"AGENTBUS_URL": agentbus_server.url}
    ) as process:
        assert process.stdout is not None
        begun = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert [json.loads(line) for line in out.splitlines()] == [{"acked": begun["begun"], "attempt": 1}], err
    assert process.returncode == 0
    state = agentbus.queue("q")
    assert (state.waiting, state.leased) == (2, 0)


def test_a_worker_goes_on_after_an_outage(agentbus_server: Server, agentbus: Agentbus, running: Make) -> None:
    run = running()

    @run.worker.job()
    def anything(_: Job) -> None:
        pass

    run.start()
    agentbus.enqueue("q", "one")
    wait_for(lambda: len(run.ends) == 1, "the first job")
    agentbus_server.kill()
    agentbus_server.start()
    agentbus.enqueue("q", "two")
    wait_for(lambda: len(run.ends) == 2, "the second job")
    assert run.ends == [("one", "acked"), ("two", "acked")]


def test_an_acknowledgement_whose_answer_was_lost_counts(agentbus: Agentbus, proxy: Proxy) -> None:
    agentbus.enqueue("q", "build")
    (job,) = agentbus.lease("q")
    with Agentbus(proxy.url) as bus:
        bus.status()
        proxy.lose_answers(1)
        bus.ack(job)
        assert proxy.count(f"POST /v1/leases/{job.lease_token}/ack") == 2
        with pytest.raises(LeaseLost) as caught:
            bus.ack(job)
        assert (caught.value.status, caught.value.code) == (410, "lease_lost")
    assert agentbus.queue("q").leased == 0


def test_a_worker_that_may_not_work_ends_with_the_reason(locked_server: Server) -> None:
    with Agentbus(locked_server.url, ROOT_KEY) as root:
        key = root.create_key("other", {"work": ["other"]}).key
    with Agentbus(locked_server.url, key) as bus, pytest.raises(Forbidden) as caught:
        bus.worker("q").run()
    assert caught.value.needs == "work q"


async def test_asyncio_handlers_run_in_the_loop_and_are_cancelled_after_the_grace(
    agentbus_server: Server, agentbus: Agentbus
) -> None:
    ends: list[tuple[str, str]] = []
    async with AsyncAgentbus(agentbus_server.url) as bus:
        worker = bus.worker("q", concurrency=2, grace=0.2)
        begun = asyncio.Event()

        @worker.job("endless")
        async def endless(_: Job) -> None:
            begun.set()
            await asyncio.Event().wait()

        @worker.job("blocking")
        def blocking(_: Job) -> None:
            assert threading.current_thread() is not threading.main_thread()

        worker.on_end(lambda job, outcome: ends.append((job.type, outcome)))
        await bus.enqueue_many("q", [NewJob("endless"), NewJob("blocking")])
        task = asyncio.create_task(worker.run(signals=False))
        await asyncio.wait_for(begun.wait(), 20)
        await asyncio.to_thread(wait_for, lambda: ends, "the other job")
        worker.stop()
        await asyncio.wait_for(task, 20)
    assert ends == [("blocking", "acked"), ("endless", "nacked")]


class Leasing:
    """A transport whose lease is answered in the moment in which the worker is stopped."""

    def __init__(self) -> None:
        self.worker: AsyncWorker | None = None
        self.requests: list[Request] = []

    async def run(self, call: Call[Any], *, forever: bool = False) -> Any:
        self.requests.append(call.request)
        if not call.request.path.endswith("/lease"):
            return None
        assert self.worker is not None
        self.worker.stop()
        # The stop is done before this goes on.
        await asyncio.sleep(0)
        return [Job(job_id="j", type="build", lease_token="t", lease_expires_at=datetime.now(timezone.utc))]


async def test_a_job_that_is_leased_while_the_worker_stops_is_given_back() -> None:
    transport = Leasing()
    worker = AsyncWorker(cast("AsyncTransport", transport), "q", concurrency=1, name=None, grace=1)
    transport.worker = worker
    begun: list[Job] = []
    worker.job()(begun.append)
    await asyncio.wait_for(worker.run(signals=False), 20)
    assert [request.path for request in transport.requests] == ["/v1/queues/q/lease", "/v1/leases/t/nack"]
    assert json.loads(transport.requests[1].body or b"") == {"delay_s": 0, "reason": "the worker stopped"}
    assert begun == []
