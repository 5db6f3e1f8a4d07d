"""The helper that starts servers for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentbus import Agentbus
from agentbus.testing import Server, ServerFailed, find_binary


def program(path: Path, text: str = "") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_binary_is_named_or_in_path_or_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = program(tmp_path / "named")
    in_path = program(tmp_path / "bin" / "agentbus")
    built = program(tmp_path / "target" / "debug" / "agentbus")
    below = tmp_path / "clients" / "python"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.setenv("AGENTBUS_BIN", named)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_binary() == named
    monkeypatch.delenv("AGENTBUS_BIN")
    assert find_binary() == in_path
    monkeypatch.setenv("PATH", "")
    assert find_binary() == built
    Path(built).unlink()
    with pytest.raises(ServerFailed, match="set AGENTBUS_BIN"):
        find_binary()
    monkeypatch.setenv("AGENTBUS_BIN", str(tmp_path / "none"))
    with pytest.raises(ServerFailed, match="is no program"):
        find_binary()


def test_a_server_that_does_not_start_tells_why(tmp_path: Path) -> None:
    server = Server(binary=program(tmp_path / "broken", "echo out of luck; exit 3"))
    with pytest.raises(ServerFailed, match="out of luck"):
        server.start()
    server.close()


def test_data_and_address_stay_until_the_end() -> None:
    with Server() as server:
        url, folder = server.url, server.folder
        with Agentbus(url) as bus:
            bus.send("note", "kept", sender="ann")
            server.stop()
            server.start()
            assert server.url == url
            assert next(bus.history()).content == "kept"
    assert not folder.exists()


def test_two_servers_share_nothing() -> None:
    with Server() as one, Server() as other, Agentbus(one.url) as bus, Agentbus(other.url) as elsewhere:
        bus.send("note", "here", sender="ann")
        assert list(elsewhere.history()) == []
