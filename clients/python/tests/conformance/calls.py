"""The calls of the cases, translated to those of the sync and of the asyncio client."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Any

from pydantic import BaseModel

from agentbus import Agentbus, AsyncAgentbus, Draft, Gap, Job, Message, NewJob, PermanentFailure

Args = dict[str, Any]

_FIELDS = {
    "kind": "kind",
    "sender_id": "sender",
    "sender_role": "role",
    "recipient_id": "to",
    "task_id": "task",
    "conversation_id": "conversation",
    "in_reply_to": "in_reply_to",
    "expires_at": "expires_at",
    "metadata": "metadata",
    "id": "id",
}
# Calls whose only argument is the id of something.
_BY_ID = {
    *("get_message", "agent", "task", "dead_letter", "redrive", "discard"),
    *("webhook", "delete_webhook", "key", "revoke_key"),
}
# Calls whose arguments are called as on the wire.
_SAME = {
    *("erase", "inbox_page", "inbox_ack", "set_queue", "queue", "delete_queue", "enqueue", "lease"),
    *("redrive_all", "consumers", "pause_consumer", "resume_consumer", "webhooks", "create_webhook"),
    *("set_webhook_state", "keys", "create_key", "update_key", "rotate_key", "create_ticket", "me", "status", "stats"),
    *("schemas", "schema", "schema_versions", "put_schema", "check_schema", "delete_schema"),
    *("schemas", "schema", "schema_versions", "put_schema", "check_schema", "delete_schema"),
}
_LISTS = {"history", "agents", "tasks", "queues", "dead_letters", "audit"}


class Calls:
    """Calls of one client, which is of either kind."""

    def __init__(self, bus: Agentbus | AsyncAgentbus) -> None:
        self._bus = bus

    async def run(self, name: str, args: Args) -> Any:
        """The result of a call, as JSON."""
        own = getattr(self, f"_{name}", None)
        if own is not None:
            return plain(await own(dict(args)))
        if name in _LISTS:
            return plain(await self._all(lambda: getattr(self._bus, name)(**args)))
        if name in _BY_ID or name in _SAME:
            return plain(await self._call(name, **args))
        raise AssertionError(f"the runner does not know the call {name}")

    async def _call(self, name: str, /, *values: Any, **named: Any) -> Any:
        method = getattr(self._bus, name)
        if isinstance(self._bus, Agentbus):
            return await asyncio.to_thread(method, *values, **named)
        return await method(*values, **named)

    async def _all(self, iterate: Callable[[], Any], take: int | None = None) -> list[Any]:
        """What an iterator gives, `take` items at most. It is closed, as a `with` block closes it."""
        if isinstance(self._bus, Agentbus):
            return await asyncio.to_thread(_all_blocking, iterate, take)
        return [item async for item in _first(iterate(), take)]

    async def _send(self, args: Args) -> Any:
        named = {name: args.pop(name) for name in ("ack", "idempotency_key") if name in args}
        draft = _draft(args)
        return await self._call("send", draft.type, draft.content, **draft.fields, **named)

    async def _send_many(self, args: Args) -> Any:
        drafts = [_draft(dict(message)) for message in args.pop("messages")]
        return [_result(each) for each in await self._call("send_many", drafts, **args)]

    async def _stream(self, args: Args) -> Any:
        take = args.pop("take")
        for wire, own in (("from", "from_"), ("after", "since")):
            if wire in args:
                args[own] = args.pop(wire)
        return await self._all(lambda: self._bus.stream(**args), take)

    async def _inbox(self, args: Args) -> Any:
        take = args.pop("take")
        return await self._all(lambda: self._bus.inbox(args.pop("agent"), **args), take)

    async def _ask(self, args: Args) -> Any:
        within = args.pop("reply_within")
        draft = _draft(args)
        return await self._call("ask", draft.type, draft.content, reply_within=within, **draft.fields)

    async def _answer(self, args: Args) -> Any:
        message = Message.model_validate(args.pop("message"))
        draft = _draft({"type": "answer", **args})
        return await self._call("answer", message, draft.content, type=draft.type, **draft.fields)

    async def _enqueue_many(self, args: Args) -> Any:
        jobs = [NewJob(**job) for job in args["jobs"]]
        return [_result(each) for each in await self._call("enqueue_many", args["queue"], jobs)]

    async def _settle(self, args: Args) -> Any:
        return await self._call(args.pop("action"), args.pop("token"), **args)

    async def _reset_consumer(self, args: Args) -> Any:
        return await self._call("reset_consumer", args["name"], args["from"])

    async def _work(self, args: Args) -> Any:
        worker = self._bus.worker(args["queue"], concurrency=args.get("concurrency", 1))
        runs: list[Job] = []
        lock = threading.Lock()

        def ended(job: Job) -> None:
            with lock:
                runs.append(job)
                if len(runs) == args["until"]:
                    worker.stop()

        if isinstance(self._bus, Agentbus):

            @worker.job()
            def run_blocking(job: Job) -> None:
                try:
                    time.sleep(_seconds(job))
                    _fail(job)
                finally:
                    ended(job)

            await asyncio.to_thread(worker.run)
        else:

            @worker.job()
            async def run(job: Job) -> None:
                try:
                    await asyncio.sleep(_seconds(job))
                    _fail(job)
                finally:
                    ended(job)

            await worker.run(signals=False)  # type: ignore[misc]  # it is the asyncio client's
        return runs


def plain(value: Any) -> Any:
    """An object of the client as JSON."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, Gap):
        return {"gap": value.model_dump(mode="json", by_alias=True)}
    return value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else value


def _seconds(job: Job) -> float:
    return float(job.payload["seconds"]) if job.type == "slow" else 0.0


def _fail(job: Job) -> None:
    if job.type == "bad":
        raise PermanentFailure("no good")
    if job.type == "once" and job.attempt == 1:
        raise RuntimeError("not yet")
    assert job.type in {"ok", "slow", "once"}


def _draft(members: Args) -> Draft:
    type_, content = members.pop("type"), members.pop("content", "")
    return Draft(type_, content, **{_FIELDS[name]: value for name, value in members.items()})


def _result(result: Any) -> Args:
    members: Args = plain(result)
    if result.error is not None:
        members["error"]["status"] = result.status
    return members


def _all_blocking(iterate: Callable[[], Any], take: int | None) -> list[Any]:
    items = iterate()
    if not hasattr(items, "__enter__"):
        return list(items)
    with items:
        return list(islice(items, take))


async def _first(items: Any, take: int | None) -> AsyncIterator[Any]:
    if not hasattr(items, "__aenter__"):
        async for item in items:
            yield item
        return
    async with items:
        for _ in range(take or 0):
            yield await anext(items)
