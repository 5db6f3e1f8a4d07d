"""The programs for fault tests do what they say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentbus import Agentbus
from agentbus.testing import Server

_PROGRAMS = Path(__file__).parent / "programs"

forms = pytest.mark.parametrize("form", [[], ["--async"]], ids=["sync", "asyncio"])


def start(url: str, program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(_PROGRAMS / program), *arguments]
    return subprocess.Popen(
        command, env={"AGENTBUS_URL": url}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def lines(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


@forms
def test_what_is_produced_is_consumed(form: list[str], agentbus_server: Server) -> None:
    url = agentbus_server.url
    consumer = start(url, "consume.py", *form, "--from", "start", "--task", "t1", "--count", "50")
    acks = lines(start(url, "produce.py", "--task", "t1", "--count", "50", "--batch", "7"))
    assert [ack["n"] for ack in acks] == list(range(1, 51))
    assert lines(consumer) == [{"seq": ack["seq"], "id": ack["id"]} for ack in acks]
    later = start(url, "consume.py", *form, "--since", "10", "--until-seq", "20", "--task", "t1", "--task", "t2")
    assert [line["seq"] for line in lines(later)] == list(range(11, 21))


@forms
def test_a_gap_is_printed_and_sigterm_is_an_end(form: list[str], agentbus_server: Server, agentbus: Agentbus) -> None:
    agentbus.send("note", sender="ann")
    consumer = start(agentbus_server.url, "consume.py", *form, "--since", "9")
    assert consumer.stdout is not None
    assert json.loads(consumer.stdout.readline()) == {"gap": {"from": 2, "to": 9, "reason": "ahead_of_log"}}
    consumer.send_signal(signal.SIGTERM)
    assert lines(consumer) == []


@forms
def test_jobs_are_worked_until_the_count(form: list[str], agentbus_server: Server, agentbus: Agentbus) -> None:
    jobs = [agentbus.enqueue("q", "build", n).job_id for n in range(3)]
    seen = lines(start(agentbus_server.url, "work.py", *form, "--queue", "q", "--count", "3"))
    for job in jobs:
        assert [line for line in seen if job in line.values()] == [
            {"begun": job, "attempt": 1},
            {"acked": job, "attempt": 1},
        ]
