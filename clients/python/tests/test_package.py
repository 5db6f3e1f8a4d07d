"""The package as others install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agentbus.testing import Server

from .test_readme import BLOCKS

_PACKAGE = Path(__file__).parents[1]


def run(*command: str | Path, url: str = "") -> str:
    process = subprocess.run(command, capture_output=True, text=True, check=False, env={"AGENTBUS_URL": url})
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.timeout(240)
def test_the_first_example_runs_in_an_empty_environment(tmp_path: Path, agentbus_server: Server) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    python = tmp_path / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(_PACKAGE)]
    subprocess.run(install, check=True, capture_output=True)
    (code,) = BLOCKS["agentbus for Python"]
    assert run(python, "-c", code, url=agentbus_server.url) == "1 ann Please read parser.py.\n"
    folder = Path(run(python, "-c", "import agentbus; print(agentbus.__path__[0])").strip())
    assert folder.is_relative_to(tmp_path)
    assert (folder / "py.typed").exists()
    assert run(python, "-c", "import sys, agentbus; print('pytest' in sys.modules)") == "False\n"
