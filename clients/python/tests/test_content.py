"""Typed content, and what messages keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field

from agentbus import Agentbus, ContentError, Draft, Message, UnexpectedAnswer
from agentbus.content import Contents


class Review(BaseModel):
    file: str
    lines: list[int] = Field(default_factory=list)


@dataclass
class Verdict:
    good: bool


def test_content_goes_through_its_model(agentbus: Agentbus) -> None:
    agentbus.register("review", Review)
    agentbus.register("verdict", Verdict)
    agentbus.send("review", Review(file="a.py", lines=[1]), sender="ann")
    agentbus.send("review", {"file": "b.py"}, sender="ann")
    agentbus.send_many([Draft("verdict", Verdict(good=True), sender="ann")])
    first, second, third = agentbus.history()
    assert first.content == '{"file":"a.py","lines":[1]}'
    assert first.parse() == Review(file="a.py", lines=[1])
    assert second.as_(Review).file == "b.py"
    assert third.parse() == Verdict(good=True)
    with agentbus.stream(from_="start") as stream:
        assert [event.parse() for event in (next(stream), next(stream)) if isinstance(event, Message)] == [
            Review(file="a.py", lines=[1]),
            Review(file="b.py"),
        ]


@pytest.mark.parametrize("content", [{"lines": []}, "no JSON", Verdict(good=True), Review.model_construct(file=7)])
def test_content_that_does_not_fit_is_not_sent(agentbus: Agentbus, content: Any) -> None:
    agentbus.register("review", Review)
    with pytest.raises(ContentError) as caught:
        agentbus.send("review", content, sender="ann")
    assert caught.value.type == "review"
    assert list(agentbus.history()) == []


def test_content_that_does_not_fit_is_told_when_it_is_read(agentbus: Agentbus) -> None:
    agentbus.send("review", "not JSON", sender="ann")
    agentbus.register("review", Review)
    (message,) = agentbus.history()
    assert message.content == "not JSON"
    with pytest.raises(ContentError):
        message.parse()
    with pytest.raises(ContentError):
        message.as_(Verdict)
    with pytest.raises(ContentError, match="no model"):
        Message(seq=1, type="other").parse()


def test_content_without_a_model_is_text_or_json() -> None:
    contents = Contents()
    assert contents.text("x", "text") == "text"
    assert contents.text("x", {"a": [1, None]}) == '{"a":[1,null]}'
    with pytest.raises(ContentError):
        contents.text("x", object())


def test_members_of_a_wrong_type_count_as_missing() -> None:
    message = Message.of({"seq": 4, "sender_id": 7, "metadata": [], "content": "x", "mood": "good"}, Contents())
    assert (message.seq, message.sender_id, message.metadata, message.content) == (4, "", {}, "x")
    assert message.model_extra == {"mood": "good"}
    with pytest.raises(UnexpectedAnswer):
        Message.of({"content": "x"}, Contents())
