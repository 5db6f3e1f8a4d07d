"""Client of agentbus, a message backend for squads of software agents.

    from agentbus import Agentbus

    with Agentbus(agent="ann") as bus:
        bus.send("review", "Please read it.", to="bob", task="t1")
        for message in bus.stream(task="t1", from_="start").messages():
            print(message.seq, message.sender_id, message.content)

`Agentbus` is for blocking code, `AsyncAgentbus` for asyncio. Both have the same methods.
"""

from ._async.client import AsyncAgentbus
from ._async.inbox import AsyncInbox
from ._async.stream import AsyncStream
from ._async.worker import AsyncWorker
from ._core.calls.access import KeyChange
from ._core.cursor import Start
from ._core.feed import Event
from ._core.fields import Draft, Filters, HistoryFilters, MessageFields, NewJob
from ._models.access import AuditEntry, Grants, Key, KeyLimits, Me, Status, Ticket
from ._models.agents import Agent, InboxState, Task
from ._models.message import Ack, Fault, Gap, ItemError, Message, Page, Result
from ._models.processing import Attempt, Consumer, DeadLetter, Lag, Redriven, Webhook
from ._models.queues import Job, JobAck, JobResult, Lease, Queue
from ._models.schemas import Schema
from ._sync.client import Agentbus
from ._sync.inbox import Inbox
from ._sync.stream import Stream
from ._sync.worker import Worker
from ._version import __version__
from .errors import (
    AgentbusError,
    ApiError,
    Conflict,
    ConnectionFailed,
    ContentError,
    Forbidden,
    Invalid,
    LeaseLost,
    NoReply,
    NotFound,
    PermanentFailure,
    RetryLater,
    TooMany,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
)

__all__ = [
    "Ack",
    "Agent",
    "Agentbus",
    "AgentbusError",
    "ApiError",
    "AsyncAgentbus",
    "AsyncInbox",
    "AsyncStream",
    "AsyncWorker",
    "Attempt",
    "AuditEntry",
    "Conflict",
    "ConnectionFailed",
    "Consumer",
    "ContentError",
    "DeadLetter",
    "Draft",
    "Event",
    "Fault",
    "Filters",
    "Forbidden",
    "Gap",
    "Grants",
    "HistoryFilters",
    "Inbox",
    "InboxState",
    "Invalid",
    "ItemError",
    "Job",
    "JobAck",
    "JobResult",
    "Key",
    "KeyChange",
    "KeyLimits",
    "Lag",
    "Lease",
    "LeaseLost",
    "Me",
    "Message",
    "MessageFields",
    "NewJob",
    "NoReply",
    "NotFound",
    "Page",
    "PermanentFailure",
    "Queue",
    "Redriven",
    "Result",
    "RetryLater",
    "Schema",
    "Start",
    "Status",
    "Stream",
    "Task",
    "Ticket",
    "TooMany",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Webhook",
    "Worker",
    "__version__",
]
