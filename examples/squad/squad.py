"""A squad without a model: a planner, a coder and a reviewer do a task together.

They share nothing but the bus, so each could run on a machine of its own.
"""

from __future__ import annotations

import ast
import asyncio
from uuid import uuid4

from pydantic import BaseModel

from agentbus import AsyncAgentbus, Message

DRAFTS = [
    'def greet(name): return f"Hello, {name}!"',
    'def greet(name): "Greets."; return f"Hello, {name}!"',
]


class Verdict(BaseModel):
    """What the reviewer says about code."""

    approved: bool
    remark: str = ""


async def planner() -> None:
    """Gives the coder a task, waits for the result, dismisses the squad and tells the story."""
    task = f"greet-{uuid4().hex[:8]}"
    async with AsyncAgentbus(agent="planner") as bus:
        await bus.ask("assignment", "Write greet(name).", to="coder", kind="task", task=task)
        for agent in ("coder", "reviewer"):
            await bus.send("dismissed", to=agent, ack="committed")  # then the history has all before it
        async for message in bus.history(task=task):
            recipient = message.recipient_id or "everybody"
            print(f"{message.sender_id:8} -> {recipient:9} {message.type:11} {message.content}".rstrip())
        print(f"The task is {(await bus.task(task)).outcome}.")


async def coder() -> None:
    """Works on assignments until it is dismissed."""
    async with AsyncAgentbus(agent="coder") as bus, bus.inbox() as inbox:
        async for message in inbox:
            if message.type == "assignment":
                await write(bus, message)
            elif message.type == "dismissed":
                break


async def write(bus: AsyncAgentbus, assignment: Message) -> None:
    """Submits drafts to the reviewer until one is approved."""
    task = assignment.task_id
    await bus.send("started", kind="task", task=task)
    for draft in DRAFTS:
        verdict = (await bus.ask("review", draft, to="reviewer", task=task)).as_(Verdict)
        if verdict.approved:
            await bus.send("completed", kind="task", task=task)
            await bus.answer(assignment, draft, type="result", task=task)
            return
        await bus.send("progress", verdict.remark, kind="task", task=task)
    await bus.send("failed", kind="task", task=task)
    await bus.answer(assignment, type="gave_up", task=task)


async def reviewer() -> None:
    """Reads code until it is dismissed."""
    async with AsyncAgentbus(agent="reviewer") as bus, bus.inbox() as inbox:
        async for message in inbox:
            if message.type == "review":
                await bus.answer(message, judge(message.content), type="verdict", task=message.task_id)
            elif message.type == "dismissed":
                break


def judge(code: str) -> Verdict:
    """Every function needs a docstring."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef) and not ast.get_docstring(node):
            return Verdict(approved=False, remark=f"{node.name} has no docstring")
    return Verdict(approved=True)


async def main() -> None:
    """Runs the squad to its end."""
    await asyncio.gather(planner(), coder(), reviewer())


if __name__ == "__main__":
    asyncio.run(main())
