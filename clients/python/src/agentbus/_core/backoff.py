"""The waits between attempts: exponential with full jitter, so that clients do not come back at one moment."""

from __future__ import annotations

import random
from collections.abc import Callable

from .limits import LONGEST_WAIT

_MOST_DOUBLINGS = 16


class Backoff:
    """Waits of 0 to `base`, then 0 to twice that, and so on, up to 30 s. All in seconds."""

    def __init__(self, base: float, jitter: Callable[[], float] = random.random) -> None:
        self.base = base
        self._jitter = jitter
        self._attempts = 0

    def next_wait(self, asked_for: float | None = None) -> float:
        """How long to wait before the next attempt: at least what the server asked for, and 30 s at most."""
        bound = min(LONGEST_WAIT, self.base * (1 << min(self._attempts, _MOST_DOUBLINGS)))
        self._attempts += 1
        return min(LONGEST_WAIT, max(self._jitter() * bound, asked_for or 0.0))

    def reset(self) -> None:
        """Starts again with the shortest wait."""
        self._attempts = 0
