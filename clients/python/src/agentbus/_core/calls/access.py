"""Keys, tickets, the audit log (contract, section 11), and the state of the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from typing_extensions import TypedDict

from ..._models.access import AuditEntry, Grants, Key, KeyLimits, Me, Status, Ticket
from ..fields import Filters, Time
from ..limits import PAGE
from ..pages import Listing
from ..request import Call, Request, document, get, given, model, models, nothing, path, send, text

KeyKind: TypeAlias = Literal["agent", "human", "service"]


GrantsLike: TypeAlias = Grants | Mapping[str, Sequence[str]]
"""Grants, or their JSON, such as `{"as": ["ann"], "read": ["agent.>"]}`."""

LimitsLike: TypeAlias = KeyLimits | Mapping[str, int]


class KeyChange(TypedDict, total=False):
    """What of a key is changed. `expires_at` None: the key has no end."""

    name: str
    grants: GrantsLike
    limits: LimitsLike
    expires_at: Time | None


def keys() -> Call[list[Key]]:
    """All keys."""
    return get(path("keys"), models(Key, "keys"))


def key(id: str) -> Call[Key]:
    """One key."""
    return get(path("keys", id), model(Key))


def create_key(
    name: str, grants: GrantsLike, kind: KeyKind | None, limits: LimitsLike | None, expires_at: Time | None
) -> Call[Key]:
    """Makes a key."""
    body = given(name=name, grants=grants, kind=kind, limits=limits, expires_at=expires_at)
    return send("POST", path("keys"), _members(body), model(Key))


def update_key(id: str, change: KeyChange) -> Call[Key]:
    """Changes a key."""
    return send("PATCH", path("keys", id), _members(change), model(Key))


def rotate_key(id: str, overlap_s: int) -> Call[Key]:
    """Gives a key a new secret."""
    return send("POST", path("keys", id, "rotate"), {"overlap_s": overlap_s}, model(Key))


def revoke_key(id: str) -> Call[None]:
    """Ends a key."""
    return Call(Request("DELETE", path("keys", id)), nothing)


def audit(after: int | None) -> Listing[AuditEntry]:
    """The audit log."""
    return Listing(path("audit"), "entries", AuditEntry, {"after": after, "limit": PAGE})


def create_ticket(ttl_s: int | None, filters: Filters) -> Call[Ticket]:
    """Makes a ticket for a stream with these filters."""
    body = {name: [value] if isinstance(value, str) else value for name, value in filters.items()}
    return send("POST", path("tickets"), {**body, **given(ttl_s=ttl_s)}, model(Ticket))


def me() -> Call[Me]:
    """Who the client is."""
    return get(path("me"), model(Me))


def status() -> Call[Status]:
    """What runs."""
    return get(path("status"), model(Status))


def stats(task: str | None) -> Call[dict[str, Any]]:
    """Counters."""
    return get(path("stats"), document, {"task": task})


def _members(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _member(value) for name, value in members.items()}


def _member(value: Any) -> Any:
    if isinstance(value, (Grants, KeyLimits)):
        return value.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    return text(value) if isinstance(value, datetime) else value
