"""A model without a network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Model, ModelResponse, Usage
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText


class StubModel(Model):
    """Passes the question on to ops by the tool, then says what ops has answered."""

    async def get_response(
        self, system_instructions: str | None, input: Any, *args: Any, **kwargs: Any
    ) -> ModelResponse:
        """The next step: a call of the tool, or the answer."""
        last = input[-1]
        if last.get("type") == "function_call_output":
            output = _text(f"ops says: {last['output']}")
        else:
            output = _call("ask_colleague", {"name": "ops", "question": last["content"]})
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """The example does not stream."""
        raise NotImplementedError


def _text(text: str) -> ResponseOutputMessage:
    content = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(
        id="message-1", type="message", role="assistant", status="completed", content=[content]
    )


def _call(name: str, arguments: dict[str, str]) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(type="function_call", call_id="call-1", name=name, arguments=json.dumps(arguments))
