"""A parser of Server-Sent Events (WHATWG HTML, section 9.2.6), from bytes to blocks.

It differs from a browser's in one point: a block without data is reported too, since heartbeats carry a cursor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UnexpectedAnswer
from .limits import EVENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"


@dataclass
class Block:
    """One block. `retry` is in milliseconds; `id` and `retry` are None if the block has none."""

    name: str = ""
    id: str | None = None
    data: bytes | None = None
    retry: int | None = None


class SseParser:
    """Takes the bytes of one connection as they come. What follows the last empty line is never reported."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._first = True
        self._block = Block()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """The blocks that this chunk completes. Raises UnexpectedAnswer for a block over 16 MiB."""
        for line in self._lines(chunk):
            if line:
                self._field(line)
                continue
            block, self._block = self._block, Block()
            if self._data:
                block.data = b"\n".join(self._data)
            self._data, self._size = [], 0
            if block != Block():
                yield block

    def _lines(self, chunk: bytes) -> list[bytes]:
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        # Bytes are split at CR, LF and CRLF only.
        lines = (self._rest + chunk).splitlines(keepends=True)
        self._rest = b"" if not lines or lines[-1].endswith((b"\n", b"\r")) else lines.pop()
        self._check(len(self._rest))
        if lines and self._first:
            self._first = False
            lines[0] = lines[0].removeprefix(_BOM)
        return [line.rstrip(b"\r\n") for line in lines]

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
            self._check(self._size)
        elif name == b"event":
            self._block.name = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._block.id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self._block.retry = int(value)

    @staticmethod
    def _check(size: int) -> None:
        if size > EVENT_BYTES:
            raise UnexpectedAnswer(f"an event of the stream has more than {EVENT_BYTES} bytes")
