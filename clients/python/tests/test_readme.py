"""The examples of the README run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agentbus.testing import Server

_README = Path(__file__).parents[1] / "README.md"


def blocks() -> dict[str, list[str]]:
    """The blocks of Python by the heading that they are under."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"^#+ ", _README.read_text(), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        found[heading] = re.findall(r"^```python\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)
    return {heading: code for heading, code in found.items() if code}


BLOCKS = blocks()
ALONE = [heading for heading in BLOCKS if heading not in {"Questions and answers", "Tests"}]


def run(code: str, url: str) -> str:
    """Runs a program as a user does. Returns what it prints."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"AGENTBUS_URL": url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


@pytest.mark.parametrize("heading", ALONE)
def test_an_example_runs(heading: str, agentbus_server: Server) -> None:
    for code in BLOCKS[heading]:
        assert run(code, agentbus_server.url)


def test_the_first_example_prints_its_message(agentbus_server: Server) -> None:
    (code,) = BLOCKS["agentbus for Python"]
    assert run(code, agentbus_server.url) == "1 ann Please read parser.py.\n"


def test_question_and_answer_run_together(agentbus_server: Server) -> None:
    ask, answer = BLOCKS["Questions and answers"]
    bob = threading.Thread(target=run, args=(answer, agentbus_server.url))
    bob.start()
    assert run(ask, agentbus_server.url) == "8080\n"
    bob.join()


def test_the_tests_of_the_readme_pass(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(*BLOCKS["Tests"])
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
