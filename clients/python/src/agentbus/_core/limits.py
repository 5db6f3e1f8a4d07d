"""Limits and times of the client, in seconds unless the name says otherwise."""

from typing import Final

TIMEOUT: Final = 30.0
"""A call and its retries, without the time for which the server is asked to hold the answer open."""

ATTEMPT: Final = 15.0
"""One attempt of a call that may be repeated. The server answers within 6 s, also when its bus is away."""

CONNECT: Final = 5.0
"""Until a connection is made."""

SILENCE: Final = 45.0
"""A stream without a byte for so long is dead: the server sends a heartbeat every 15 s."""

GRACE: Final = 30.0
"""For running handlers of a worker that stops."""

RELEASE: Final = 5.0
"""For giving back jobs whose handlers did not end in that time."""

LEASE_JOBS: Final = 1000
"""The most jobs of a lease."""

IDLE: Final = 20.0
"""An idle connection is closed after so long. The server closes it after 30 s: a request must not cross that."""

FIRST_WAIT: Final = 0.25
"""Before the second attempt of a call."""

RECONNECT: Final = 2.0
"""Before a stream reconnects, until the server says otherwise by `retry:`."""

LONGEST_WAIT: Final = 30.0
"""Between two attempts of anything."""

VERSION_CHECK: Final = 2.0
"""For the question which version the server has."""

POLL: Final = 20
"""For which an inbox or a worker asks the server to wait for something. Proxies cut at 60 s and more."""

REPLY: Final = 60
"""The longest wait for a reply that the server accepts; a longer one asks again."""

BATCH_ITEMS: Final = 1000
BATCH_BYTES: Final = 8 * 1024 * 1024
"""A batch of the contract (section 3)."""

PAGE: Final = 1000
"""The largest page that the server gives."""

EVENT_BYTES: Final = 16 * 1024 * 1024
"""A block of a stream. A message has 1 MiB at most, before the escapes of JSON."""

REASON_BYTES: Final = 2048
"""The reason of a failed job: the server cuts it there."""
