"""Schemas that the server checks."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from agentbus import Agentbus, AsyncAgentbus, Draft, Invalid, NotFound
from agentbus.testing import Server


class Remark(BaseModel):
    line: int


class Review(BaseModel):
    file: str
    remarks: list[Remark]


GOOD = {"file": "a.py", "remarks": [{"line": 1}]}
BAD = {"file": "a.py", "remarks": [{"line": "one"}]}


def test_a_model_becomes_a_schema(agentbus: Agentbus) -> None:
    agentbus.send("review", BAD, sender="ann", ack="committed")
    assert agentbus.check_schema("message", "review", Review) == 1
    with pytest.raises(NotFound):
        agentbus.schema("message", "review")

    made = agentbus.put_schema("message", "review", Review)
    assert (made.kind, made.type, made.version, made.mode, made.content) == ("message", "review", 1, "enforce", "json")
    assert agentbus.send("review", GOOD, sender="ann").warnings == []
    with pytest.raises(Invalid) as caught:
        agentbus.send("review", BAD, sender="ann")
    assert caught.value.code == "schema_violation"
    good, bad = agentbus.send_many([Draft("review", GOOD, sender="ann"), Draft("review", BAD, sender="ann")])
    assert good.error is None
    assert bad.error is not None
    assert bad.error.code == "schema_violation"


def test_versions_and_warnings(agentbus: Agentbus) -> None:
    agentbus.put_schema("message", "note", {"properties": {"content": {"maxLength": 3}}}, mode="warn")
    (warning,) = agentbus.send("note", "too long", sender="ann").warnings
    assert warning.code == "schema_violation"
    agentbus.put_schema("message", "note", {"properties": {"content": {"maxLength": 9}}})
    newest = agentbus.schema("message", "note")
    assert (newest.version, newest.json_schema) == (2, {"properties": {"content": {"maxLength": 9}}})
    assert [each.version for each in agentbus.schema_versions("message", "note")] == [2, 1]
    assert [(each.type, each.json_schema) for each in agentbus.schemas()] == [("note", None)]
    agentbus.delete_schema("message", "note")
    assert agentbus.schemas() == []


async def test_asyncio(agentbus_server: Server) -> None:
    async with AsyncAgentbus(agentbus_server.url) as bus:
        await bus.put_schema("task", "done", {"properties": {"metadata": {"required": ["file"]}}})
        with pytest.raises(Invalid):
            await bus.send("done", kind="task", task="t1", sender="ann")
