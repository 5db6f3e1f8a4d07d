"""Sends requests with httpx, on asyncio."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TypeVar

import httpx

from .._core import http
from .._core.attempts import Attempts
from .._core.calls import access
from .._core.limits import VERSION_CHECK
from .._core.request import Answer, Call, Request
from .._core.settings import Settings, is_other_major
from .._version import __version__
from ..errors import AgentbusError

log = logging.getLogger("agentbus")
T = TypeVar("T")


class AsyncTransport:
    """The connections to one server, for one event loop."""

    def __init__(self, settings: Settings, verify: ssl.SSLContext | bool) -> None:
        self.settings = settings
        self._http = httpx.AsyncClient(**http.options(settings, verify))
        self._greeted = False

    async def run(self, call: Call[T], *, forever: bool = False) -> T:
        """Carries out a call, with its retries: for the time of the settings, or for ever."""
        attempts = Attempts(call, None if forever else self.settings.timeout)
        while True:
            wait: float | None
            try:
                answer = await self._exchange(call.request, attempts.timeout())
            except httpx.RequestError as error:
                wait = attempts.failed(http.reason(error), sent=http.was_sent(error))
            else:
                wait = attempts.answered(answer)
                if wait is None:
                    await self.greet()
                    return call.read(answer)
            await asyncio.sleep(wait)

    async def open(self, request: Request) -> httpx.Response:
        """Opens a stream; its answer's body is not read."""
        arguments = http.arguments(self.settings, request, self.settings.silence)
        return await self._http.send(self._http.build_request(**arguments), stream=True)

    async def greet(self) -> None:
        """Warns, once, if the server has another major version. It may refuse to tell."""
        if self._greeted:
            return
        self._greeted = True
        call = access.status()
        try:
            answer = await self._exchange(call.request, VERSION_CHECK)
            version = call.read(answer).version if answer.ok else __version__
        except (httpx.RequestError, AgentbusError):
            return
        if is_other_major(version):
            log.warning("the server has version %s, this client %s: they may not fit", version, __version__)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def _exchange(self, request: Request, timeout: float) -> Answer:
        return http.whole(await self._http.request(**http.arguments(self.settings, request, timeout)))
