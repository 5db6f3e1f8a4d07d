"""Fixtures of these tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentbus.testing import Server

from .proxy import Proxy

pytest_plugins = ["pytester"]

ROOT_KEY = "ab_root_0123456789abcdefghijklmnopqrstuvwxyzABCDEF"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own environment sets nothing."""
    for name in ("AGENTBUS_URL", "AGENTBUS_KEY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy(agentbus_server: Server) -> Iterator[Proxy]:
    """A proxy in front of the server."""
    proxy = Proxy(agentbus_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def locked_server(tmp_path: Path) -> Iterator[Server]:
    """A server that wants keys. ROOT_KEY may do everything."""
    path = tmp_path / "root"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(ROOT_KEY + "\n")
    with Server({"AUTH": "required", "ROOT_KEY_FILE": str(path)}) as server:
        yield server
