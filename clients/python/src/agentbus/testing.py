"""A server for tests, and a pytest plugin that starts one.

The plugin is active wherever this package is installed. `agentbus_server` is a server for one test, with a folder of
its own; `agentbus` is a client of it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import httpx
import pytest
from typing_extensions import Self

from ._sync.client import Agentbus

_START_S = 20.0
_POLL_S = 0.02
_TRIES = 5


class ServerFailed(Exception):
    """There is no binary, or the server did not start."""


def find_binary() -> str:
    """The server's program: `AGENTBUS_BIN`, else `agentbus` in PATH, else the newest in a `target` folder above.

    Raises ServerFailed if there is none.
    """
    named = os.environ.get("AGENTBUS_BIN")
    if named:
        if not os.access(named, os.X_OK):
            raise ServerFailed(f"AGENTBUS_BIN={named} is no program")
        return str(Path(named).resolve())
    found = shutil.which("agentbus")
    if found:
        return found
    here = Path.cwd()
    for folder in [here, *here.parents]:
        built = [path for path in folder.glob("target/*/agentbus") if os.access(path, os.X_OK)]
        if built:
            return str(max(built, key=lambda path: path.stat().st_mtime))
    raise ServerFailed("no agentbus found: set AGENTBUS_BIN, or put it in PATH")


class Server:
    """A server on a free port of loopback: memory bus and SQLite, with its data in a folder that ends with it.

    `settings` are environment variables for it, such as `{"AUTH": "required"}`.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, binary: str | None = None) -> None:
        self._settings = dict(settings or {})
        self._binary = binary or find_binary()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder: Path = Path(tempfile.mkdtemp(prefix="agentbus-"))
        self.port: int = 0

    @property
    def url(self) -> str:
        """The server's address. It stays the same when the server starts again."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Starts the server, on the same port and data as before. Raises ServerFailed, with the end of its log."""
        tries = 1 if self.port else _TRIES
        for left in reversed(range(tries)):
            port = self.port or _free_port()
            try:
                self._start(port)
            except ServerFailed:
                # Another process may have taken the port.
                if not left:
                    raise
            else:
                self.port = port
                break
        return self

    def kill(self) -> None:
        """Ends the server at once, as a crash does (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self, timeout: float = 30.0) -> None:
        """Ends the server in order (SIGTERM), within `timeout` seconds."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def close(self) -> None:
        """Ends the server and removes its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, port: int) -> None:
        # The settings of the tests' own environment do not apply.
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        environment |= {
            "HTTP_ADDR": f"127.0.0.1:{port}",
            "DATA_DIR": str(self.folder / "data"),
            **self._settings,
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "serve"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_S
        while not _is_ready(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self._binary} did not start: {self.log()[-2000:]}")
            time.sleep(_POLL_S)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def agentbus_server() -> Iterator[Server]:
    """A server of this test's own."""
    with Server() as server:
        yield server


@pytest.fixture
def agentbus(agentbus_server: Server) -> Iterator[Agentbus]:
    """A client of this test's server."""
    with Agentbus(agentbus_server.url, key="") as client:
        yield client
