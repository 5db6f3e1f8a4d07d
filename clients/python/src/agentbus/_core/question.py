"""A question that is asked until its time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from .._models.message import Message
from ..content import Contents
from .calls import messages
from .limits import REPLY
from .request import Call

_TOO_SHORT_S = 0.5


class Question:
    """Asks again under the same id when a wait has ended without a reply before `within` seconds are over.

    The server waits for 60 s at most, and ends a wait when it stops.
    """

    def __init__(
        self,
        envelope: Mapping[str, Any],
        within: float,
        contents: Contents,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._envelope = envelope
        self._contents = contents
        self._clock = clock
        self._end = clock() + within

    def call(self) -> Call[Message]:
        """Asks, for what is left of the time."""
        left = math.ceil(self._end - self._clock())
        return messages.ask(self._envelope, min(REPLY, max(1, left)), self._contents)

    @property
    def is_over(self) -> bool:
        """Whether there is no time left to ask again."""
        return self._end - self._clock() < _TOO_SHORT_S
