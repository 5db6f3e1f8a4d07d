"""Keys, tickets, the audit log, and the state of the server."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from .base import Document


class Grants(Document):
    """What a key may do. A list that is missing grants nothing."""

    as_: list[str] = Field(default_factory=list, alias="as")
    """Names to write as; `*` is any. Their inboxes may be read and acknowledged."""
    publish: list[str] = Field(default_factory=list)
    """Subjects to publish on, with wildcards."""
    read: list[str] = Field(default_factory=list)
    """Subjects to read, with wildcards."""
    enqueue: list[str] = Field(default_factory=list)
    work: list[str] = Field(default_factory=list)
    can: list[str] = Field(default_factory=list)
    """`observe`, `process`, `webhooks`, `dead_letters`, `keys` and others."""


class KeyLimits(Document):
    """How much a key may do on each server; None sets no limit."""

    requests_per_s: int | None = None
    messages_per_s: int | None = None
    bytes_per_day: int | None = None
    streams: int | None = None


class Key(Document):
    """A key. `key`, its secret, is only in the answer that made or rotated it."""

    id: str
    name: str = ""
    kind: str = ""
    """`agent`, `human` or `service`."""
    grants: Grants | None = None
    limits: KeyLimits | None = None
    created_at: datetime | None = None
    created_by: str | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    old_secret_until: datetime | None = None
    disabled: bool = False
    """Whether a restore has disabled the key: it opens nothing until it is enabled."""
    key: str | None = Field(default=None, repr=False)


class Me(Document):
    """Who the client is, and what it may do."""

    id: str | None = None
    name: str | None = None
    kind: str | None = None
    grants: Grants | None = None
    limits: KeyLimits | None = None
    expires_at: datetime | None = None


class Ticket(Document):
    """A ticket for `/v1/stream?ticket=…`, for pages of another origin."""

    ticket: str = Field(repr=False)
    expires_at: datetime


class AuditEntry(Document):
    """One entry of the audit log: who did what."""

    seq: int
    at: datetime | None = None
    actor: dict[str, Any] | None = None
    action: str = ""
    target: Any = None
    outcome: str = ""
    detail: Any = None


class Status(Document):
    """What runs, and its health."""

    name: str
    version: str
    bus: str = ""
    store: str = ""
    uptime_s: float = 0
    ready: bool = False
    degraded: bool = False
    draining: bool = False
    parts: dict[str, Any] = Field(default_factory=dict)
