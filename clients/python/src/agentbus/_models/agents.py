"""Agents and tasks: the state behind the messages."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from .base import Document


class InboxState(Document):
    """How far an agent has consumed its messages, and how many wait."""

    consumed_through: int = 0
    waiting: int = 0


class Agent(Document):
    """An agent: the sender of a status or a message. Exact as of the sequence `as_of`."""

    agent_id: str
    role: str | None = None
    status: str | None = None
    """The type of its latest status."""
    since: datetime | None = None
    last_seen: datetime | None = None
    expires_at: datetime | None = None
    """When its status lapses; None if it does not."""
    inbox: InboxState | None = None
    as_of: int | None = None


class Task(Document):
    """A task. Exact as of the sequence `as_of`."""

    task_id: str
    state: str = ""
    """`open` or `done`."""
    outcome: str | None = None
    """`completed`, `failed` or `cancelled`."""
    last_event: str | None = None
    agents: list[str] = Field(default_factory=list)
    messages: int = 0
    late_events: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    as_of: int | None = None
