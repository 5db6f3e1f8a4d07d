"""Dead letters, consumers and webhooks (contract, section 10)."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..._models.processing import Consumer, DeadLetter, Redriven, Webhook
from ..limits import PAGE
from ..pages import Listing
from ..request import Call, Request, get, given, model, models, nothing, path, query, send

DeadLetterKind: TypeAlias = Literal["message", "job"]


def dead_letters(source: str | None, kind: DeadLetterKind | None) -> Listing[DeadLetter]:
    """All dead letters, oldest first."""
    return Listing(path("dead-letters"), "dead_letters", DeadLetter, {"source": source, "kind": kind, "limit": PAGE})


def dead_letter(id: str) -> Call[DeadLetter]:
    """One dead letter."""
    return get(path("dead-letters", id), model(DeadLetter))


def redrive(id: str) -> Call[Redriven]:
    """Returns one dead letter to its source."""
    return Call(Request("POST", path("dead-letters", id, "redrive")), model(Redriven))


def redrive_all(source: str | None, kind: DeadLetterKind | None) -> Call[Redriven]:
    """Returns dead letters to their sources."""
    filters = query({"source": source, "kind": kind})
    return Call(Request("POST", path("dead-letters", "redrive"), filters), model(Redriven))


def discard(id: str) -> Call[None]:
    """Discards one dead letter."""
    return Call(Request("DELETE", path("dead-letters", id)), nothing)


def consumers() -> Call[list[Consumer]]:
    """All consumers, by name."""
    return get(path("consumers"), models(Consumer, "consumers"))


def pause_consumer(name: str, reason: str | None) -> Call[Consumer]:
    """Pauses a consumer."""
    return send("POST", path("consumers", name, "pause"), given(reason=reason), model(Consumer))


def resume_consumer(name: str) -> Call[Consumer]:
    """Resumes a consumer."""
    return Call(Request("POST", path("consumers", name, "resume")), model(Consumer))


def reset_consumer(name: str, from_: int) -> Call[Consumer]:
    """Makes a consumer process everything from a sequence on."""
    return send("POST", path("consumers", name, "reset"), {"from": from_}, model(Consumer))


def webhooks() -> Call[list[Webhook]]:
    """All webhooks, oldest first."""
    return get(path("webhooks"), models(Webhook, "webhooks"))


def webhook(id: str) -> Call[Webhook]:
    """One webhook."""
    return get(path("webhooks", id), model(Webhook))


def create_webhook(url: str, filter: str | None, secret: str | None) -> Call[Webhook]:
    """Makes a webhook."""
    return send("POST", path("webhooks"), given(url=url, filter=filter, secret=secret), model(Webhook))


def set_webhook_state(id: str, state: Literal["active", "paused"]) -> Call[Webhook]:
    """Pauses or resumes a webhook."""
    return send("PATCH", path("webhooks", id), {"state": state}, model(Webhook))


def delete_webhook(id: str) -> Call[None]:
    """Removes a webhook."""
    return Call(Request("DELETE", path("webhooks", id)), nothing)
