"""The contract's sections, through the sync and the asyncio client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentbus import (
    Agentbus,
    AgentbusError,
    ApiError,
    AsyncAgentbus,
    Conflict,
    ConnectionFailed,
    Forbidden,
    Invalid,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from agentbus.testing import Server

from .conformance.calls import Calls
from .conformance.patterns import Mismatch, Names, fill, match

_CASE_S = 60.0
_EVENTUALLY_S = 20.0
_POLL_S = 0.05
_ROOT = "ab_root_0123456789abcdefghijklmnopqrstuvwxyzABCDEF"
_GROUPS: dict[type[AgentbusError], str] = {
    Unauthenticated: "unauthenticated",
    Forbidden: "forbidden",
    NotFound: "not_found",
    Conflict: "conflict",
    Invalid: "invalid",
    TooMany: "too_many",
    Unavailable: "unavailable",
    ConnectionFailed: "connection",
}


def _cases() -> Iterator[Any]:
    folder = Path(__file__).parents[2] / "conformance"
    for file in sorted(folder.glob("*.json")):
        for case in json.loads(file.read_text())["cases"]:
            yield pytest.param(case, id=f"{file.stem}: {case['name']}")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of the server, and its root key."""
    url = os.environ.get("AGENTBUS_URL")
    if url:
        yield url, os.environ["AGENTBUS_ROOT_KEY"]
        return
    root_key = tmp_path_factory.mktemp("key") / "root"
    root_key.write_text(_ROOT + "\n")
    root_key.chmod(0o600)
    with Server({"ROOT_KEY_FILE": str(root_key)}) as server:
        yield server.url, _ROOT


@pytest.mark.parametrize("client", ["sync", "asyncio"])
@pytest.mark.parametrize("case", list(_cases()))
async def test_conformance(case: dict[str, Any], client: str, target: tuple[str, str]) -> None:
    await asyncio.wait_for(Run(client, *target).run(case), _CASE_S)


class Run:
    """One case, with one client for each key."""

    def __init__(self, client: str, url: str, root: str) -> None:
        self._client = client
        self._url = url
        self._names: Names = {"run": os.urandom(4).hex(), "root": root}
        self._names |= {f"uuid{n}": str(uuid.uuid4()) for n in (1, 2, 3)}
        self._clients: dict[str, Calls] = {}
        self._background: dict[str, asyncio.Task[Any]] = {}

    async def run(self, case: dict[str, Any]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for number, step in enumerate(case["steps"], 1):
                try:
                    await self._step(step, stack)
                except Mismatch as error:
                    pytest.fail(f"step {number} ({step.get('call', 'join')}): {error}", pytrace=False)

    async def _step(self, step: dict[str, Any], stack: contextlib.AsyncExitStack) -> None:
        if "join" in step:
            await self._check(step, self._background[step["join"]])
            return
        key = fill(step.get("key", ""), self._names)
        calls = self._clients.get(key) or self._clients.setdefault(
            key, await stack.enter_async_context(self._open(key))
        )
        args = fill(step.get("args", {}), self._names)
        if "background" in step:
            self._background[step["background"]] = asyncio.create_task(calls.run(step["call"], args))
            return
        deadline = asyncio.get_running_loop().time() + _EVENTUALLY_S
        while True:
            try:
                await self._check(step, asyncio.create_task(calls.run(step["call"], args)))
            except Mismatch:
                if not step.get("eventually") or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_POLL_S)
            else:
                return

    async def _check(self, step: dict[str, Any], call: asyncio.Task[Any]) -> None:
        try:
            result = await call
        except AgentbusError as error:
            if "error" not in step:
                raise Mismatch(f"raised {error!r}") from error
            match(fill(step["error"], self._names), _described(error), self._names, "error")
            return
        if "error" in step:
            raise Mismatch(f"wanted an error, not {str(result)[:500]}")
        if "expect" in step:
            match(fill(step["expect"], self._names), result, self._names)

    @contextlib.asynccontextmanager
    async def _open(self, key: str) -> AsyncIterator[Calls]:
        if self._client == "sync":
            with Agentbus(self._url, key) as bus:
                yield Calls(bus)
        else:
            async with AsyncAgentbus(self._url, key) as bus:
                yield Calls(bus)


def _described(error: AgentbusError) -> dict[str, Any]:
    group = next((name for kind, name in _GROUPS.items() if isinstance(error, kind)), "api")
    known = {name: getattr(error, name, None) for name in ("detail", "needs", "outcome", "id", "seq")}
    if isinstance(error, ApiError):
        known |= {"status": error.status, "code": error.code, "errors": list(error.errors)}
    return {**known, "group": group}
