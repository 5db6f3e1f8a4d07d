"""Batches: how much goes into a request, and which of its items to send again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from .._models.message import Result
from .._models.queues import JobResult
from ..errors import UnexpectedAnswer
from .backoff import Backoff
from .limits import BATCH_BYTES, BATCH_ITEMS, FIRST_WAIT
from .request import Call, to_json

R = TypeVar("R", bound=Result | JobResult)

_TRANSIENT = frozenset({429, 503})


class Batch(Generic[R]):
    """Items of one request. What an outage let not through is sent again under its id, for `timeout` seconds."""

    def __init__(self, lines: list[bytes], call: Callable[[list[bytes]], Call[list[R]]], timeout: float) -> None:
        self._lines = lines
        self._call = call
        self._open = list(range(len(lines)))
        self._found: dict[int, R] = {}
        self._backoff = Backoff(FIRST_WAIT)
        self._deadline = time.monotonic() + timeout

    def call(self) -> Call[list[R]]:
        """Sends what is open."""
        return self._call([self._lines[index] for index in self._open])

    def receive(self, results: list[R]) -> float | None:
        """Takes the results. None if that was all, else how long to wait before the next call."""
        if len(results) != len(self._open):
            raise UnexpectedAnswer(f"{len(self._open)} items were sent, and {len(results)} results came")
        self._found.update(zip(self._open, results, strict=True))
        self._open = [index for index in self._open if self._found[index].status in _TRANSIENT]
        wait = self._backoff.next_wait()
        return wait if self._open and time.monotonic() + wait < self._deadline else None

    def results(self) -> list[R]:
        """One result each, in order."""
        return [self._found[index] for index in range(len(self._lines))]


def split(items: Iterable[Mapping[str, Any]]) -> Iterator[list[bytes]]:
    """The items as lines of JSON, in batches of 1,000 items and 8 MiB at most. Takes no more items than it needs."""
    lines: list[bytes] = []
    size = 0
    for item in items:
        line = to_json(item)
        if lines and (len(lines) == BATCH_ITEMS or size + len(line) + 1 > BATCH_BYTES):
            yield lines
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield lines
