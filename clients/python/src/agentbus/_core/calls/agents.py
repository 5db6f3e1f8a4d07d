"""Agents, tasks and inboxes (contract, sections 6 and 7)."""

from __future__ import annotations

from ..._models.agents import Agent, InboxState, Task
from ..._models.message import Page
from ...content import Contents
from ..limits import PAGE
from ..pages import Listing
from ..request import Call, get, model, path, send
from .messages import page_reader


def agents() -> Listing[Agent]:
    """All agents, by name."""
    return Listing(path("agents"), "agents", Agent, {"limit": PAGE}, shared=("as_of",))


def agent(id: str) -> Call[Agent]:
    """One agent."""
    return get(path("agents", id), model(Agent))


def tasks(state: str | None) -> Listing[Task]:
    """All tasks, by name."""
    return Listing(path("tasks"), "tasks", Task, {"state": state, "limit": PAGE}, shared=("as_of",))


def task(id: str) -> Call[Task]:
    """One task."""
    return get(path("tasks", id), model(Task))


def inbox_page(
    agent: str, contents: Contents, *, after: int | None, limit: int | None, wait: int | None, broadcast: bool
) -> Call[Page]:
    """A page of an inbox; empty when the wait, in seconds, is over."""
    query = {"after": after, "limit": limit, "wait": wait, "broadcast": broadcast or None}
    return get(path("agents", agent, "inbox"), page_reader(contents), query, holds=wait or 0)


def inbox_ack(agent: str, through: int) -> Call[InboxState]:
    """Consumes an inbox. The position only rises, so this may be repeated."""
    return send("POST", path("agents", agent, "inbox", "ack"), {"through": through}, model(InboxState), safe=True)
