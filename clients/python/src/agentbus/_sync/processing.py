"""Calls for dead letters, consumers and webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from .._core.calls import processing
from .._core.calls.processing import DeadLetterKind
from .._models.processing import Consumer, DeadLetter, Redriven, Webhook
from .base import Base


class ProcessingCalls(Base):
    """Background processing (contract, section 10). NotFound for an unknown id or name."""

    def dead_letters(self, *, source: str | None = None, kind: DeadLetterKind | None = None) -> Iterator[DeadLetter]:
        """Dead letters, oldest first: of this consumer or queue, of this kind."""
        return self._each(processing.dead_letters(source, kind))

    def dead_letter(self, id: str) -> DeadLetter:
        """One dead letter, with its message or job."""
        return self._run(processing.dead_letter(id))

    def redrive(self, id: str) -> Redriven:
        """Returns a dead letter to its source. Conflict if that is gone."""
        return self._run(processing.redrive(id))

    def redrive_all(self, *, source: str | None = None, kind: DeadLetterKind | None = None) -> Redriven:
        """Returns all dead letters of a source or kind, or all."""
        return self._run(processing.redrive_all(source, kind))

    def discard(self, id: str) -> None:
        """Discards a dead letter. A message stays in the history."""
        self._run(processing.discard(id))

    def consumers(self) -> list[Consumer]:
        """All consumers, by name."""
        return self._run(processing.consumers())

    def pause_consumer(self, name: str, *, reason: str | None = None) -> Consumer:
        """Pauses a consumer: no new attempt starts until it is resumed."""
        return self._run(processing.pause_consumer(name, reason))

    def resume_consumer(self, name: str) -> Consumer:
        """Resumes a consumer at its position."""
        return self._run(processing.resume_consumer(name))

    def reset_consumer(self, name: str, from_: int) -> Consumer:
        """Processes the messages from this sequence on, also those that it has processed before."""
        return self._run(processing.reset_consumer(name, from_))

    def webhooks(self) -> list[Webhook]:
        """All webhooks, oldest first."""
        return self._run(processing.webhooks())

    def webhook(self, id: str) -> Webhook:
        """One webhook."""
        return self._run(processing.webhook(id))

    def create_webhook(self, url: str, *, filter: str | None = None, secret: str | None = None) -> Webhook:
        """Makes a webhook for a subject pattern (all without one). Its `secret` is in this answer alone."""
        return self._run(processing.create_webhook(url, filter, secret))

    def set_webhook_state(self, id: str, state: Literal["active", "paused"]) -> Webhook:
        """Pauses a webhook, or resumes it where it was paused."""
        return self._run(processing.set_webhook_state(id, state))

    def delete_webhook(self, id: str) -> None:
        """Removes a webhook and what waits for it."""
        self._run(processing.delete_webhook(id))
