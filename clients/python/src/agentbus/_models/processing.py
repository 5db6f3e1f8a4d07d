"""Dead letters, consumers and webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from .base import Document


class Attempt(Document):
    """One attempt to process a message or job."""

    attempt: int
    at: datetime | None = None
    error: str = ""


class DeadLetter(Document):
    """A message or job that was given up, with every attempt."""

    id: str
    kind: str
    """`message` or `job`."""
    source: str
    """The consumer, webhook or queue that gave it up."""
    seq: int | None = None
    subject: str | None = None
    reason: str = ""
    attempts: list[Attempt] = Field(default_factory=list)
    died_at: datetime | None = None
    message: dict[str, Any] | None = None
    job: dict[str, Any] | None = None


class Redriven(Document):
    """How many dead letters went back to their source, and how many stay because it is gone."""

    redriven: int = 0
    skipped: int = 0


class Lag(Document):
    """Messages that are not processed, and the age of the oldest in seconds."""

    messages: int = 0
    seconds: float = 0


class Consumer(Document):
    """A consumer: the processor, or one of a webhook."""

    name: str
    kind: str = ""
    filter: str = ""
    state: str = ""
    """`running`, `paused` or `unhandled`."""
    reason: str | None = None
    pending: int = 0
    in_flight: int = 0
    redelivered: int = 0
    lag: Lag | None = None
    processed_through: int = 0
    processed: int = 0
    failed: int = 0
    expired: int = 0
    max_deliver: int = 0
    dead_letters: int = 0


class Webhook(Document):
    """A webhook. `secret` is only in the answer that made it."""

    id: str
    url: str
    filter: str = ""
    state: str = ""
    """`active` or `paused`."""
    reason: str | None = None
    created_at: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    last_success: datetime | None = None
    last_error: str | None = None
    secret: str | None = Field(default=None, repr=False)
