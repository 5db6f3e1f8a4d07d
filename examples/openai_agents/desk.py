"""An agent of the OpenAI Agents SDK as a member of a squad: the desk, which asks colleagues what it does not know."""

from __future__ import annotations

import asyncio

from agents import Agent, Runner, function_tool, set_tracing_disabled

from agentbus import AsyncAgentbus

from stub_model import StubModel


def agent(bus: AsyncAgentbus) -> Agent:
    """An agent with a tool that asks other members of the squad."""

    @function_tool
    async def ask_colleague(name: str, question: str) -> str:
        """Asks a colleague. `ops` knows the machines."""
        return (await bus.ask("question", question, to=name)).content

    return Agent(
        name="desk",
        instructions="Answer questions of the squad. Ask a colleague if you do not know.",
        model=StubModel(),
        tools=[ask_colleague],
    )


async def desk() -> None:
    """Answers questions until it is dismissed."""
    async with AsyncAgentbus(agent="desk") as bus, bus.inbox() as inbox:
        mind = agent(bus)
        async for message in inbox:
            if message.type == "question":
                end = await Runner.run(mind, message.content)
                await bus.answer(message, end.final_output)
            elif message.type == "dismissed":
                break


async def ops() -> None:
    """A colleague that is no language model."""
    async with AsyncAgentbus(agent="ops") as bus, bus.inbox() as inbox:
        async for message in inbox:
            if message.type == "question":
                await bus.answer(message, "Staging runs on port 8443.")
            elif message.type == "dismissed":
                break


async def ann() -> None:
    """Asks the desk, prints its answer, and dismisses all."""
    async with AsyncAgentbus(agent="ann") as bus:
        print((await bus.ask("question", "On which port does staging run?", to="desk")).content)
        for name in ("desk", "ops"):
            await bus.send("dismissed", to=name)


async def main() -> None:
    """Runs the squad to its end."""
    set_tracing_disabled(True)
    await asyncio.gather(desk(), ops(), ann())


if __name__ == "__main__":
    asyncio.run(main())
