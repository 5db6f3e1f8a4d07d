"""Messages and gaps."""

from __future__ import annotations

import builtins
import json
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, PrivateAttr, ValidationError

from .._core.faults import faults
from ..content import Contents
from ..errors import UnexpectedAnswer
from .base import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger("agentbus")
T = TypeVar("T")


class Message(Document):
    """A message of the log (contract, section 1).

    `seq` is its position and its identity. Any NATS client may publish, so other members can be missing: then they are
    empty or None.
    """

    seq: int
    id: str = ""
    kind: str = ""
    """`message`, `status` or `task`."""
    type: str = ""
    subject: str = ""
    sender_id: str = ""
    sender_role: str | None = None
    recipient_id: str | None = None
    """None for a broadcast."""
    task_id: str | None = None
    conversation_id: str | None = None
    in_reply_to: str | None = None
    expires_at: datetime | None = None
    content: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    key_id: str | None = None
    created_at: datetime | None = None

    _contents: Contents = PrivateAttr(default_factory=Contents)

    def parse(self) -> Any:
        """The content, as the model that the client registered for this type.

        Raises ContentError if no model is registered, or the content does not fit it.
        """
        return self._contents.parse(self.type, self.content)

    def as_(self, model: builtins.type[T]) -> T:
        """The content, as this model: a pydantic model, a dataclass, a TypedDict, `list[int]` and so on.

        Raises ContentError if the content does not fit it.
        """
        return Contents.read(self.type, self.content, model)

    @classmethod
    def of(cls, members: Mapping[str, Any], contents: Contents) -> Message:
        """The message with these members. Members of a wrong type count as missing, except `seq`."""
        try:
            message = cls.model_validate(members)
        except ValidationError as error:
            wrong = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
            if "seq" in wrong or not wrong:
                raise UnexpectedAnswer(f"this is no message: {faults(error)}") from None
            log.warning("message %s: ignored what has a wrong type: %s", members.get("seq"), wrong)
            message = cls.model_validate({name: value for name, value in members.items() if name not in wrong})
        message._contents = contents
        return message


class Gap(Document):
    """Sequences `from_` to `to`, inclusive, that were requested and that neither bus nor store has."""

    from_: int = Field(alias="from")
    to: int
    reason: str = ""
    """`expired`, `abandoned` or `ahead_of_log` (contract, section 4)."""

    def __str__(self) -> str:
        return f"no messages from {self.from_} to {self.to}: {self.reason}"


class Page(Document):
    """A page of history or of an inbox.

    `next` is the `after` of the next page (the `before` when descending), or None. The page is exact as of
    `committed_through`.
    """

    messages: list[Message] = Field(default_factory=list)
    next: int | None = None
    committed_through: int | None = None


class Fault(Document):
    """What the server has against a message: a stable code, a text for people, and each fault."""

    code: str = ""
    detail: str = ""
    errors: list[dict[str, str]] = Field(default_factory=list)


class Ack(Document):
    """The acknowledgement of a message."""

    seq: int
    id: str
    subject: str = ""
    created_at: datetime | None = None
    duplicate: bool = False
    durability: str = "stored"
    """Whether the bus has it (`stored`) or the store too (`committed`)."""
    warnings: list[Fault] = Field(default_factory=list)
    """What it violates of a schema of mode `warn`."""


class ItemError(Fault):
    """Why an item of a batch was refused. `errors` as in ApiError."""

    outcome: str | None = None
    id: str | None = None
    seq: int | None = None


class Result(Document):
    """What became of one message of a batch: `status` is the HTTP status that it would have got alone."""

    status: int
    id: str | None = None
    seq: int | None = None
    duplicate: bool = False
    durability: str | None = None
    warnings: list[Fault] = Field(default_factory=list)
    error: ItemError | None = None

    @property
    def ok(self) -> bool:
        """Whether the message is in the log."""
        return self.error is None


def message_reader(contents: Contents) -> Callable[[bytes], Message]:
    """Reads the JSON of a message."""

    def read(data: bytes) -> Message:
        try:
            members = json.loads(data)
        except ValueError as error:
            raise UnexpectedAnswer(f"a message is not JSON: {error}") from None
        if not isinstance(members, dict):
            raise UnexpectedAnswer("a message is not a JSON object")
        return Message.of(members, contents)

    return read
