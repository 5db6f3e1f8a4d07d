"""Whether and when a call is tried again.

Only a call that is `safe` is repeated: after a connection error, 429, 502, 503 and 504, until its time is up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from ..errors import AgentbusError, ConnectionFailed
from .backoff import Backoff
from .limits import ATTEMPT, FIRST_WAIT
from .request import Answer, Call

log = logging.getLogger("agentbus")

_GONE = 410
_TRANSIENT = frozenset({429, 502, 503, 504})
# The request may have been carried out.
_ANSWER_LOST = frozenset({502, 504})


class Attempts:
    """The attempts of one call. `timeout` is for all of them, in seconds; None for no limit."""

    def __init__(
        self,
        call: Call[Any],
        timeout: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
    ) -> None:
        self._call = call
        self._clock = clock
        self._backoff = backoff or Backoff(FIRST_WAIT)
        self._deadline = None if timeout is None else clock() + timeout + call.holds
        self._answer_lost = False
        self._reported = False

    def timeout(self) -> float:
        """How long the next attempt may take, in seconds."""
        if self._deadline is None:
            return ATTEMPT + self._call.holds
        left = max(0.001, self._deadline - self._clock())
        return min(left, ATTEMPT + self._call.holds) if self._call.safe else left

    def failed(self, reason: str, *, sent: bool) -> float:
        """There was no answer. Returns how long to wait before the next attempt, or raises ConnectionFailed."""
        self._answer_lost |= sent
        return self._wait(ConnectionFailed(reason), None)

    def answered(self, answer: Answer) -> float | None:
        """There was an answer. None if the call is done, else how long to wait; or raises the error it means."""
        if answer.ok or (answer.status == _GONE and self._answer_lost and self._call.lost_is_done):
            if self._reported:
                log.info("%s %s: answered again", self._call.request.method, self._call.request.path)
            return None
        error = answer.error()
        if answer.status not in _TRANSIENT or error.code == "no_reply":
            raise error
        self._answer_lost |= answer.status in _ANSWER_LOST
        return self._wait(error, error.retry_after)

    def _wait(self, error: AgentbusError, asked_for: float | None) -> float:
        wait = self._backoff.next_wait(asked_for)
        if not self._call.safe or (self._deadline is not None and self._clock() + wait >= self._deadline):
            raise error
        if not self._reported and self._deadline is None:
            log.warning("%s %s: %s; trying again", self._call.request.method, self._call.request.path, error)
            self._reported = True
        return wait
