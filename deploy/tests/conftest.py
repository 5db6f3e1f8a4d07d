"""What the tests of deployment share: the packages, made once, and a server of the binary in them."""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BINARY = Path(os.environ["AGENTBUS_BIN"])


def run(*command: str | Path, limit: float = 100, **options: object) -> str:
    """The standard output of a command, which must succeed within `limit` seconds."""
    result = subprocess.run(command, check=False, text=True, capture_output=True, timeout=limit, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return str(result.stdout)


@contextmanager
def served(binary: Path, folder: Path, *, is_ready: bool = True, **settings: str) -> Iterator[str]:
    """A server of `binary` with its data in `folder`; its address, once it is ready, unless it will not be."""
    own = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder), "HTTP_ADDR": "127.0.0.1:0"}
    env = settings | own
    process = subprocess.Popen([binary, "serve"], env=env, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        if is_ready:
            wait_until_ready(found[0])
        yield found[0]
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            get(f"{url}/readyz")
        except urllib.error.HTTPError:
            assert time.monotonic() < deadline, "the server does not become ready"
            time.sleep(0.05)
        else:
            return


def get(url: str, host: str = "localhost") -> bytes:
    request = urllib.request.Request(url, headers={"Host": host})
    with urllib.request.urlopen(request, timeout=10) as response:
        return bytes(response.read())


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the packages that scripts/release makes of the binary under test."""
    out = tmp_path_factory.mktemp("packages")
    run(ROOT / "scripts/release", "--binary", BINARY, "--out", out)
    return out


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(BINARY, tmp_path_factory.mktemp("data")) as url:
        yield url


@pytest.fixture(scope="session")
def paths(server: str) -> set[str]:
    """The paths that the server describes."""
    return set(json.loads(get(f"{server}/openapi.json"))["paths"])


@pytest.fixture(scope="session")
def settings() -> set[str]:
    """The names of all settings."""
    return set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


@pytest.fixture
def only(packages: Path) -> Callable[[str], Path]:
    def find(pattern: str) -> Path:
        (found,) = packages.glob(pattern)
        return found

    return find
