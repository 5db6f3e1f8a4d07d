"""A LangGraph graph as a member of a squad: the historian, whom others ask what happened in a task."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from agentbus import AsyncAgentbus

from stub_model import StubModel


def graph(bus: AsyncAgentbus) -> Any:
    """Model and tools in turns, until the model has an answer. The tool reads the bus."""

    @tool
    async def events(task: str) -> str:
        """What happened in a task: who did what, oldest first."""
        return ", ".join([f"{event.sender_id} {event.type}" async for event in bus.history(task=task, kind="task")])

    model = StubModel().bind_tools([events])

    async def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("tools", ToolNode([events]))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    return builder.compile()


async def historian() -> None:
    """Answers questions until it is dismissed."""
    async with AsyncAgentbus(agent="historian") as bus, bus.inbox() as inbox:
        mind = graph(bus)
        async for message in inbox:
            if message.type == "question":
                end = await mind.ainvoke({"messages": [("user", message.content)]})
                await bus.answer(message, end["messages"][-1].content)
            elif message.type == "dismissed":
                break


async def ann() -> None:
    """Does a task, and asks the historian about it."""
    task = f"parser-{uuid4().hex[:8]}"
    async with AsyncAgentbus(agent="ann") as bus:
        for event in ("started", "progress", "completed"):
            await bus.send(event, kind="task", task=task, ack="committed")
        answer = await bus.ask("question", f"What happened in task {task}?", to="historian")
        print(answer.content)
        await bus.send("dismissed", to="historian")


async def main() -> None:
    """Runs both to their end."""
    await asyncio.gather(historian(), ann())


if __name__ == "__main__":
    asyncio.run(main())
