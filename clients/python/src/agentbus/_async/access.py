"""Calls for keys, tickets, the audit log, and the state of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from typing_extensions import Unpack

from .._core.calls import access
from .._core.calls.access import GrantsLike, KeyChange, KeyKind, LimitsLike
from .._core.fields import Filters, Time
from .._models.access import AuditEntry, Key, Me, Status, Ticket
from .base import AsyncBase, first


class AsyncAccessCalls(AsyncBase):
    """Identity and access (contract, section 11). Managing keys needs a key that `can keys`, else Forbidden."""

    async def keys(self) -> list[Key]:
        """All keys, without their secrets."""
        return await self._run(access.keys())

    async def key(self, id: str) -> Key:
        """One key, without its secret. NotFound if there is none."""
        return await self._run(access.key(id))

    async def create_key(
        self,
        name: str,
        grants: GrantsLike,
        *,
        kind: KeyKind | None = None,
        limits: LimitsLike | None = None,
        expires_at: Time | None = None,
    ) -> Key:
        """Makes a key. The secret, `key`, is only in this answer. Forbidden if it grants more than your key has."""
        return await self._run(access.create_key(name, grants, kind, limits, expires_at))

    async def update_key(self, id: str, **change: Unpack[KeyChange]) -> Key:
        """Changes the given members of a key. `expires_at=None`: it never expires."""
        return await self._run(access.update_key(id, change))

    async def rotate_key(self, id: str, *, overlap_s: int = 0) -> Key:
        """A new secret, in `key`. The old one is accepted for `overlap_s` seconds (0 to 86,400)."""
        return await self._run(access.rotate_key(id, overlap_s))

    async def revoke_key(self, id: str) -> None:
        """Ends a key, its streams and its sessions."""
        await self._run(access.revoke_key(id))

    def audit(self, *, after: int | None = None, take: int | None = None) -> AsyncIterator[AuditEntry]:
        """Who did what, oldest first, `take` at most."""
        return first(self._each(access.audit(after)), take)

    async def create_ticket(self, *, ttl_s: int | None = None, **filters: Unpack[Filters]) -> Ticket:
        """A ticket for a page's `EventSource` with these filters, for up to 60 s."""
        return await self._run(access.create_ticket(ttl_s, filters))

    async def me(self) -> Me:
        """Who the client is, and what it may do. Unauthenticated if its key is not valid."""
        return await self._run(access.me())

    async def status(self) -> Status:
        """Version, bus, store, and the health of each part."""
        return await self._run(access.status())

    async def stats(self, *, task: str | None = None) -> dict[str, Any]:
        """Counters, of one task if named (docs/api.md, Counters)."""
        return await self._run(access.stats(task))
