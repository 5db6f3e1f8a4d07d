"""Messages: sending, asking, history (contract, sections 3 and 9)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from ..._models.message import Ack, Message, Page, Result
from ...content import Contents
from ...errors import UnexpectedAnswer
from ..fields import Draft, Filters, HistoryFilters, MessageFields
from ..request import Answer, Call, Request, document, get, model, models, path, send


def post(envelope: Mapping[str, Any], ack: str, key: str | None) -> Call[Ack]:
    """Sends one message. It has an id or a key, so it may be repeated."""
    call = send("POST", path("messages"), envelope, model(Ack), safe=True)
    headers = {**call.request.headers, **({"idempotency-key": key} if key is not None else {})}
    return replace(call, request=replace(call.request, query=[("ack", ack)], headers=headers))


def ask(envelope: Mapping[str, Any], seconds: int, contents: Contents) -> Call[Message]:
    """Sends a message and waits for the reply, 1 to 60 s. The same id again finds a reply that came in between."""
    call = send("POST", path("messages"), envelope, _reply(contents), safe=True)
    request = replace(call.request, query=[("reply_within", str(seconds))])
    return replace(call, request=request, holds=float(seconds))


def batch(lines: Sequence[bytes], ack: str) -> Call[list[Result]]:
    """Sends messages that all have ids."""
    headers = {"content-type": "application/x-ndjson"}
    request = Request("POST", path("messages", "batch"), [("ack", ack)], headers, b"\n".join(lines))
    return Call(request, models(Result, "results"), safe=True)


def answering(message: Message, type: str, content: Any, fields: MessageFields, agent: str | None) -> Draft:
    """The answer to a message: to its sender, in its conversation, from this agent or else its recipient."""
    answer: MessageFields = {
        "to": message.sender_id,
        "conversation": message.conversation_id,
        "in_reply_to": message.id,
        "sender": agent or message.recipient_id,
        **fields,
    }
    return Draft(type, content, **answer)


def page(filters: HistoryFilters | Filters, limit: int, contents: Contents) -> Call[Page]:
    """A page of history."""
    query = {**filters, "limit": limit}
    if isinstance(query.get("between"), Sequence) and not isinstance(query["between"], str):
        query["between"] = ",".join(cast("Sequence[str]", query["between"]))
    return get(path("messages"), page_reader(contents), query)


def one(id: str, contents: Contents) -> Call[Message]:
    """One message by its id."""
    return get(path("messages", id), lambda answer: Message.of(document(answer), contents))


def erase(id: str, reason: str) -> Call[int]:
    """Erases what the messages with this id said. It may be repeated."""
    return send("POST", path("messages", id, "erase"), {"reason": reason}, _seq, safe=True)


def _seq(answer: Answer) -> int:
    seq = document(answer).get("seq")
    if not isinstance(seq, int):
        raise UnexpectedAnswer("the answer has no seq")
    return seq


def page_reader(contents: Contents) -> Callable[[Answer], Page]:
    """Reads a page. An answer without a body, after a wait, is an empty one."""

    def read(answer: Answer) -> Page:
        members = document(answer) if answer.body else {"messages": []}
        messages = members.get("messages")
        if not isinstance(messages, list):
            raise UnexpectedAnswer("the answer has no list of messages")
        return Page.model_validate({**members, "messages": [Message.of(each, contents) for each in messages]})

    return read


def _reply(contents: Contents) -> Callable[[Answer], Message]:
    def read(answer: Answer) -> Message:
        reply = document(answer).get("reply")
        if not isinstance(reply, dict):
            raise UnexpectedAnswer("the answer has no reply")
        return Message.of(reply, contents)

    return read
