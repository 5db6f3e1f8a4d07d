"""A proxy in front of the server that fails on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

_CHUNK = 65536


class Proxy:
    """Forwards connections to a port, byte for byte. Each fault holds for connections and requests to come.

    - `answer`: requests get this status and not the server.
    - `lose_answers`: so many requests reach the server, but their answers are dropped and the connection with it.
    - `silence`: nothing is forwarded any more in either direction, and no connection is ended.
    - `cut`: ends all connections now.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        """The heads of all requests, in order."""
        self.connections = 0
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._answer: bytes | None = None
        self._lost = 0
        self._speaks = threading.Event()
        self._speaks.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def answer(self, status: int | None, headers: str = "") -> None:
        body = b"<html>a page of the proxy</html>"
        head = f"HTTP/1.1 {status} X\r\ncontent-type: text/html\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        self._answer = None if status is None else head.encode() + body
        if status is not None:
            self.cut()

    def lose_answers(self, count: int) -> None:
        self._lost = count

    def silence(self) -> None:
        self._speaks.clear()

    def speak(self) -> None:
        """Ends a silence. What was swallowed is gone: so are the connections."""
        self.cut()
        self._speaks.set()

    def cut(self) -> None:
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def count(self, line: str) -> int:
        """How many requests began so, such as `POST /v1/messages`."""
        return sum(head.startswith(line) for head in self.requests)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._speaks.set()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._open(client), contextlib.suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._target))
            with self._open(server):
                loses = threading.Event()

                def drop(_: bytes) -> bytes | None:
                    return b"" if loses.is_set() else None

                threading.Thread(target=self._copy, args=(server, client, drop), daemon=True).start()
                self._copy(client, server, lambda data: self._request(data, loses))

    def _copy(self, source: socket.socket, sink: socket.socket, seen: Callable[[bytes], bytes | None]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._speaks.wait()
                answer = seen(data)
                if answer is not None:
                    source.sendall(answer)
                    break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _request(self, data: bytes, loses: threading.Event) -> bytes | None:
        """Notes a request. Returns the answer that it gets here, or sets `loses` if its answer is to be lost."""
        if not data.startswith((b"GET ", b"POST ", b"PUT ", b"DELETE ")):
            return None
        self.requests.append(data.partition(b"\r\n\r\n")[0].decode())
        if self._lost > 0 and b"/v1/status" not in data:
            self._lost -= 1
            loses.set()
        return self._answer

    @contextlib.contextmanager
    def _open(self, each: socket.socket) -> Iterator[None]:
        with self._lock:
            self._sockets.add(each)
        try:
            with each:
                yield
        finally:
            with self._lock:
                self._sockets.discard(each)
