"""A chat model without a network."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class StubModel(BaseChatModel):
    """Calls the tool for the task that the question ends with, then makes a sentence of what the tool found."""

    @property
    def _llm_type(self) -> str:
        return "stub"

    def bind_tools(self, tools: Any, **kwargs: Any) -> StubModel:
        """It knows its tool."""
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            reply = AIMessage(f"{last.content}: the task is over.")
        else:
            task = str(last.content).split()[-1].rstrip("?")
            reply = AIMessage("", tool_calls=[{"name": "events", "args": {"task": task}, "id": "call-1"}])
        return ChatResult(generations=[ChatGeneration(message=reply)])
