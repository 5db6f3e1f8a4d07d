"""Every example runs as its README says. `scripts/examples` runs these tests."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from agentbus import Agentbus
from agentbus.testing import Server

from browser import Browser

EXAMPLES = Path(__file__).parent
DEADLINE_S = 30
T = TypeVar("T")


def block(example: str, language: str) -> str:
    """The code of this language in the README of an example."""
    readme = (EXAMPLES / example / "README.md").read_text()
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    return code


def command(example: str) -> list[str]:
    """The command of the README that starts the example, with the Python of these tests."""
    program, *arguments = shlex.split(block(example, "sh").splitlines()[-1])
    assert program == "python"
    return [sys.executable, *arguments]


def run(example: str, url: str) -> list[str]:
    """Runs an example from the root of the project. Returns the lines that it prints."""
    process = subprocess.run(
        command(example),
        cwd=EXAMPLES.parent,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "AGENTBUS_URL": url},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout.splitlines()


def wait_for(what: str, attempt: Callable[[], T]) -> T:
    """Tries until there is something."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := attempt()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("example", ["squad", "langgraph", "openai_agents"])
def test_a_squad_prints_what_its_readme_shows(example: str, agentbus_server: Server) -> None:
    expected = block(example, "text").splitlines()
    assert run(example, agentbus_server.url) == expected
    assert run(example, agentbus_server.url) == expected, "the second time on the same server"


def test_a_squad_leaves_nothing_undone(agentbus_server: Server, agentbus: Agentbus) -> None:
    run("squad", agentbus_server.url)
    (task,) = agentbus.tasks()
    assert task.outcome == "completed"
    waiting = [message.type for name in ("coder", "reviewer") for message in agentbus.inbox_page(name).messages]
    assert waiting == []


def test_the_pool_does_all_jobs_but_the_impossible_one(agentbus_server: Server, agentbus: Agentbus) -> None:
    lines = run("worker_pool", agentbus_server.url)
    # Which worker gets which job, and in which order they end, is left to chance.
    ends = sorted(line.partition(": ")[2] for line in lines[:-2])
    shown = block("worker_pool", "text").splitlines()
    assert ends == sorted(line.partition(": ")[2] for line in shown[:-2])
    assert {line.partition(": ")[0] for line in lines[:-2]} <= {"worker-1", "worker-2"}
    assert lines[-2:] == shown[-2:]
    queue = next(iter(agentbus.queues()))
    assert (queue.waiting, queue.leased, queue.delayed, queue.dead_letters) == (0, 0, 0, 1)


@pytest.fixture
def page() -> Iterator[str]:
    """Serves the live page as its README says, on a free port. Its origin."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    arguments = [port if argument == "8000" else argument for argument in command("live_page")]
    assert port in arguments
    process = subprocess.Popen(arguments, cwd=EXAMPLES.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    origin = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(origin, trust_env=False).is_success
        except httpx.TransportError:
            assert process.poll() is None
            return False

    try:
        wait_for("page", answers)
        yield origin
    finally:
        process.kill()
        process.wait()


def test_the_live_page_replays_follows_and_resumes(page: str) -> None:
    with Server({"CORS_ORIGINS": page}) as server, Agentbus(server.url, agent="ann") as bus, Browser() as browser:

        def shows(*contents: str) -> None:
            """Newest first, nothing else."""
            wanted = list(contents)
            wait_for(
                f"page with {wanted}",
                lambda: [item.rpartition(": ")[2] for item in browser.texts("#messages li")] == wanted,
            )

        bus.send("note", "before", to="bob")
        browser.open(f"{page}/?bus={server.url}")
        shows("before")
        bus.send("started", "<b>after</b>", kind="task", task="t1")
        shows("<b>after</b>", "before")
        assert browser.texts("#state") == ["live"]
        assert browser.texts("#messages li")[0] == "2 ann → everybody started t1: <b>after</b>"
        server.kill()
        wait_for("outage", lambda: browser.texts("#state") == ["reconnecting"])
        server.start()
        bus.send("note", "again", to="bob")
        shows("again", "<b>after</b>", "before")


def test_the_live_page_is_short() -> None:
    assert len((EXAMPLES / "live_page" / "index.html").read_text().splitlines()) <= 40
