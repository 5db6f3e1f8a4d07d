"""The client for asyncio."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Literal

from typing_extensions import Self, Unpack

from .._core.calls import agents, messages
from .._core.cursor import Cursor, Start
from .._core.feed import Feed
from .._core.fields import Draft, Filters, HistoryFilters, MessageFields
from .._core.history import History
from .._core.inbox import InboxReader
from .._core.limits import GRACE, SILENCE, TIMEOUT
from .._core.question import Question
from .._core.settings import Settings
from .._models.agents import InboxState
from .._models.message import Ack, Message, Page, Result, message_reader
from ..content import Contents
from ..errors import NoReply
from .access import AsyncAccessCalls
from .agents import AsyncAgentCalls
from .base import first
from .inbox import AsyncInbox
from .processing import AsyncProcessingCalls
from .queues import AsyncQueueCalls
from .schemas import AsyncSchemaCalls
from .stream import AsyncStream
from .transport import AsyncTransport
from .worker import AsyncWorker


class AsyncAgentbus(AsyncAgentCalls, AsyncQueueCalls, AsyncProcessingCalls, AsyncAccessCalls, AsyncSchemaCalls):
    """A client of one server, for asyncio: one event loop. Tasks may share it, but not its streams and inboxes.

    Args:
        url: the server's address, else `AGENTBUS_URL`, else `http://127.0.0.1:8080`.
        key: the key, else `AGENTBUS_KEY`, else none.
        agent: the name to act as: the sender of messages, and whose inbox is read.
        timeout: seconds for a call with its retries, without the time that it asks the server to wait.
        silence: seconds without a byte after which a stream is dead. The server sends a heartbeat every 15 s.
        verify: how to check the server's certificate, as in httpx.

    Every call raises ConnectionFailed if there is no answer in time, an ApiError of the fitting class if the server
    refuses, and UnexpectedAnswer if the answer is not one of agentbus. A call that may be repeated safely is: after
    connection errors, 429, 502, 503 and 504.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        agent: str | None = None,
        timeout: float = TIMEOUT,
        silence: float = SILENCE,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._settings = Settings.of(url, key, agent, timeout, silence)
        self._transport = AsyncTransport(self._settings, verify)
        self._contents = Contents()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._settings.url

    async def close(self) -> None:
        """Closes all connections, streams too."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def register(self, type: str, model: Any) -> None:
        """Content of messages of this type must fit this model, from now on.

        `send` checks it and `message.parse()` gives it. A model is whatever pydantic can check: a BaseModel, a
        dataclass, a TypedDict, `list[int]`. On the wire it is JSON text.
        """
        self._contents.register(type, model)

    async def send(
        self,
        type: str,
        content: Any = "",
        *,
        ack: Literal["stored", "committed"] = "stored",
        idempotency_key: str | None = None,
        **fields: Unpack[MessageFields],
    ) -> Ack:
        """Sends a message, and repeats it under the same id until it is acknowledged.

        Content that is no string becomes JSON; with a model for the type it must fit that. `ack="committed"` waits
        for the store, 5 s at most. With an `idempotency_key` (1 to 255 characters) the server makes the id from
        sender and key.

        Raises Invalid (with `errors`) for a message that breaks the rules, Conflict if the id belongs to another
        message, ContentError if the content does not fit its model, Unavailable after 30 s without a bus.
        """
        envelope = Draft(type, content, **fields).envelope(
            self._settings.agent, self._contents, keyed=idempotency_key is not None
        )
        return await self._run(messages.post(envelope, ack, idempotency_key))

    async def send_many(
        self, drafts: Iterable[Draft], *, ack: Literal["stored", "committed"] = "stored"
    ) -> list[Result]:
        """Sends messages in batches of 1,000 and 8 MiB at most, in order. One result each, in order.

        A message that is refused does not affect the others: look at `result.error`. Raises what ended the whole.
        """
        envelopes = (draft.envelope(self._settings.agent, self._contents) for draft in drafts)
        return await self._run_batches(envelopes, lambda lines: messages.batch(lines, ack))

    async def get_message(self, id: str) -> Message:
        """One message by its id. NotFound if there is none."""
        return await self._run(messages.one(id, self._contents))

    async def erase(self, id: str, reason: str) -> int:
        """Erases what the messages with this id said, everywhere and for good. Gives the sequence of the first.

        NotFound if there is none that the key may read.
        """
        return await self._run(messages.erase(id, reason))

    def history(
        self, *, take: int | None = None, page_size: int = 100, **filters: Unpack[HistoryFilters]
    ) -> AsyncIterator[Message]:
        """The messages of the store that pass the filters, `take` at most.

        Gets pages of `page_size` (1 to 1,000) as you read.
        """
        return first(self._each(History(filters, page_size, self._contents)), take)

    async def history_page(self, *, limit: int = 100, **filters: Unpack[HistoryFilters]) -> Page:
        """One page of the history. A stream `since` its `committed_through` goes on without a gap."""
        return await self._run(messages.page(filters, limit, self._contents))

    def stream(
        self, *, from_: Start | None = None, since: int | None = None, **filters: Unpack[Filters]
    ) -> AsyncStream:
        """The messages that pass the filters, as they come, for ever.

        It begins `from_` a sequence, `"start"` (what is kept) or `"now"` (the default). Or it resumes after the
        sequence `since`: the `cursor` of an earlier stream, or the `seq` of the last message that was handled.
        """
        return AsyncStream(self._transport, Feed(filters, Cursor(from_, since), message_reader(self._contents)))

    def inbox(
        self, agent: str | None = None, *, broadcast: bool = False, page_size: int = 100, ack: bool = True
    ) -> AsyncInbox:
        """The messages for an agent (without a name: the client's), for ever. With `broadcast` also those for
        everybody.

        Acknowledges what the loop has finished, unless `ack` is False.
        """
        reader = InboxReader(self._agent(agent), self._contents, broadcast=broadcast, page_size=page_size, ack=ack)
        return AsyncInbox(self._transport, reader)

    async def inbox_page(
        self,
        agent: str | None = None,
        *,
        after: int | None = None,
        limit: int | None = None,
        wait: int | None = None,
        broadcast: bool = False,
    ) -> Page:
        """One page of an inbox: after what was acknowledged, or after the sequence `after`.

        `wait` holds an empty answer open, 0 to 60 whole seconds. `limit` is 1 to 1,000, 100 without it.
        """
        name = self._agent(agent)
        return await self._run(
            agents.inbox_page(name, self._contents, after=after, limit=limit, wait=wait, broadcast=broadcast)
        )

    async def inbox_ack(self, through: int, agent: str | None = None) -> InboxState:
        """Everything in the inbox up to this sequence is consumed. Invalid above what is committed."""
        return await self._run(agents.inbox_ack(self._agent(agent), through))

    async def ask(
        self, type: str, content: Any = "", *, reply_within: float = 60.0, **fields: Unpack[MessageFields]
    ) -> Message:
        """Sends a message and waits for the first reply, for `reply_within` seconds.

        Raises NoReply (with `id` and `seq`) if none came; the question stays, and asking again under its id finds a
        reply that came later.
        """
        envelope = Draft(type, content, **fields).envelope(self._settings.agent, self._contents)
        question = Question(envelope, reply_within, self._contents)
        while True:
            try:
                return await self._run(question.call())
            except NoReply:
                if question.is_over:
                    raise

    async def answer(
        self, message: Message, content: Any = "", *, type: str = "answer", **fields: Unpack[MessageFields]
    ) -> Ack:
        """Answers a message: to its sender, in its conversation, as its recipient. The fields may say otherwise."""
        draft = messages.answering(message, type, content, fields, self._settings.agent)
        return await self.send(draft.type, draft.content, **draft.fields)

    def worker(self, queue: str, *, concurrency: int = 1, name: str | None = None, grace: float = GRACE) -> AsyncWorker:
        """A worker of a queue, which runs up to `concurrency` jobs at a time.

        `name` is for the queue's records; without it the client's agent. At a stop, running handlers have `grace`
        seconds to end.
        """
        return AsyncWorker(
            self._transport, queue, concurrency=concurrency, name=name or self._settings.agent, grace=grace
        )

    def _agent(self, agent: str | None) -> str:
        name = agent or self._settings.agent
        if name is None:
            raise ValueError("name the agent, here or as Agentbus(agent=...)")
        return name
