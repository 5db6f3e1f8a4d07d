"""The keyword arguments that messages and filters take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict, Unpack

from ..content import Contents
from .ids import uuid7
from .request import given, text

Priority: TypeAlias = Literal["high", "normal", "low"]
Kind: TypeAlias = Literal["message", "status", "task"]
Values: TypeAlias = str | Sequence[str]
Time: TypeAlias = datetime | str
"""A time with its zone, or RFC 3339."""


class MessageFields(TypedDict, total=False):
    """The members of a message beside `type` and `content` (contract, section 1).

    `to` is the recipient's name; without it the message is a broadcast. `sender` can be left out if the client has an
    `agent`, or its key one name. `id` is a UUID, by which a repeat is recognised; the client makes one.
    """

    kind: Kind
    to: str | None
    task: str | None
    sender: str | None
    role: str | None
    conversation: str | None
    in_reply_to: str | None
    expires_at: Time | None
    metadata: Mapping[str, Any] | None
    id: str | None


class Filters(TypedDict, total=False):
    """Which messages (contract, section 5). Several values of one name are alternatives; all names must hold.

    `subject` takes the wildcards of NATS. With `broadcast`, `recipient` also matches broadcasts.
    """

    subject: Values
    kind: Kind | Sequence[Kind]
    type: Values
    sender: Values
    recipient: Values
    task: Values
    conversation: Values
    in_reply_to: Values
    broadcast: bool


class HistoryFilters(Filters, total=False):
    """Filters of the history. `after` and `before` are sequences, exclusive; `since` and `until` times, inclusive.

    `between` are two agents: only what they sent each other. `contains` is a text of 1 to 1,024 characters that the
    content must contain, in the same case.
    """

    after: int
    before: int
    order: Literal["asc", "desc"]
    since: Time
    until: Time
    between: Sequence[str]
    contains: str


@dataclass(frozen=True, init=False)
class Draft:
    """A message to send, for `send_many`. The arguments are those of `send`."""

    type: str
    content: Any
    fields: MessageFields

    def __init__(self, type: str, content: Any = "", **fields: Unpack[MessageFields]) -> None:
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "content", content)
        object.__setattr__(self, "fields", fields)

    def envelope(self, agent: str | None, contents: Contents, *, keyed: bool = False) -> dict[str, Any]:
        """The message for the wire. Without an id it gets a new one, unless an Idempotency-Key (`keyed`) makes it."""
        fields = self.fields
        expires_at = fields.get("expires_at")
        return given(
            id=fields.get("id") or (None if keyed else uuid7()),
            kind=fields.get("kind") or "message",
            type=self.type,
            sender_id=fields.get("sender") or agent,
            sender_role=fields.get("role"),
            recipient_id=fields.get("to"),
            task_id=fields.get("task"),
            conversation_id=fields.get("conversation"),
            in_reply_to=fields.get("in_reply_to"),
            expires_at=None if expires_at is None else text(expires_at),
            content=contents.text(self.type, self.content),
            metadata=fields.get("metadata"),
        )


@dataclass(frozen=True)
class NewJob:
    """A job to enqueue. `payload` is any JSON value or pydantic model; without an `id` (a UUID) it gets a new one.

    It can be leased after `delay_s` seconds. All of `high` before any of `normal` before any of `low`.
    """

    type: str
    payload: Any = None
    priority: Priority | None = None
    delay_s: float | None = None
    id: str | None = None

    def members(self) -> dict[str, Any]:
        """The job for the wire."""
        payload = to_jsonable_python(self.payload, by_alias=True)
        return {
            "payload": payload,
            **given(id=self.id or uuid7(), type=self.type, priority=self.priority, delay_s=self.delay_s),
        }
