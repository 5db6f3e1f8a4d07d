"""Calls for agents and tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from .._core.calls import agents
from .._models.agents import Agent, Task
from .base import Base


class AgentCalls(Base):
    """The state behind the messages (contract, section 6).

    Each is exact as of `as_of`: `stream(since=as_of)` goes on from it.
    """

    def agents(self) -> Iterator[Agent]:
        """All agents, by name."""
        return self._each(agents.agents())

    def agent(self, id: str) -> Agent:
        """One agent. NotFound if it never sent a message or a status."""
        return self._run(agents.agent(id))

    def tasks(self, state: Literal["open", "done"] | None = None) -> Iterator[Task]:
        """All tasks, or those in one state, by name."""
        return self._each(agents.tasks(state))

    def task(self, id: str) -> Task:
        """One task. NotFound if there is none."""
        return self._run(agents.task(id))
