"""What the client raises.

Decide by the class, or by `ApiError.code`, which is stable. `detail` is for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class AgentbusError(Exception):
    """The base of everything that this package raises."""


class ConnectionFailed(AgentbusError, ConnectionError):
    """There was no answer. Whether the request reached the server is unknown."""


class UnexpectedAnswer(AgentbusError):
    """The answer is not one of the contract. Perhaps the address is not that of an agentbus server."""


class ContentError(AgentbusError, ValueError):
    """A content or payload does not fit its model. `type` is the type of the message or job."""

    def __init__(self, type: str, reason: str) -> None:
        super().__init__(f"content of type {type}: {reason}")
        self.type = type
        self.reason = reason


class ApiError(AgentbusError):
    """The server refused the request.

    `errors` lists the faults of a body (`pointer`, `detail`) or of a query (`parameter`, `detail`).
    `request_id` names the request in the server's log. `problem` is the whole answer.
    """

    def __init__(
        self,
        status: int,
        problem: Mapping[str, Any],
        *,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.problem: dict[str, Any] = dict(problem)
        self.code: str = str(problem.get("code", ""))
        self.detail: str = str(problem.get("detail", ""))
        self.errors: Sequence[Mapping[str, str]] = problem.get("errors") or ()
        self.request_id: str | None = problem.get("request_id") or request_id
        self.retry_after = retry_after
        """How long the server asks to wait before the next attempt, in seconds."""
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"{self.status} {self.code}: {self.detail}" if self.code else f"{self.status}: {self.detail}"
        faults = [f"{fault.get('pointer', fault.get('parameter', ''))} {fault.get('detail')}" for fault in self.errors]
        return f"{text} ({'; '.join(faults)})" if faults else text

    @property
    def id(self) -> str | None:
        """The id of the message that it is about."""
        return self.problem.get("id")

    @property
    def seq(self) -> int | None:
        """The sequence of the message that it is about."""
        return self.problem.get("seq")


class Unauthenticated(ApiError):
    """401: the key is missing, wrong, revoked or expired. Also the end of a stream whose key ended."""


class Forbidden(ApiError):
    """403: the key lacks a grant, which `needs` names."""

    @property
    def needs(self) -> str | None:
        """The missing grant, such as `publish agent.task.t1.done` or `work builds`."""
        return self.problem.get("needs")


class NotFound(ApiError):
    """404: there is no such thing, or the key may not see it."""


class Conflict(ApiError):
    """409: such as an id that belongs to another body."""


class LeaseLost(ApiError):
    """410: the lease ran out or was ended. The job may be another worker's by now."""


class Invalid(ApiError):
    """422: `errors` lists every fault."""


class TooMany(ApiError):
    """429: a limit of the key. Wait for `retry_after` seconds."""


class Unavailable(ApiError):
    """502, 503, 504: the server starts, stops, is overloaded or has no bus or store; or a proxy does not reach it."""

    @property
    def outcome(self) -> str | None:
        """What became of a message: `not_sent` (certainly not in the log) or `unknown`."""
        return self.problem.get("outcome")


class NoReply(ApiError):
    """504: no reply came in time. The question, `id` at `seq`, stays in the log."""


class PermanentFailure(Exception):
    """Raise it in a worker's handler: the job fails for good, and is a dead letter at once."""


class RetryLater(Exception):
    """Raise it in a worker's handler: the job is retried after `delay_s` seconds, or after its queue's backoff."""

    def __init__(self, reason: str = "", *, delay_s: float | None = None) -> None:
        super().__init__(reason)
        self.delay_s = delay_s


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: LeaseLost,
    422: Invalid,
    429: TooMany,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def api_error(
    status: int,
    problem: Mapping[str, Any],
    *,
    request_id: str | None = None,
    retry_after: float | None = None,
) -> ApiError:
    """The error of an answer, of the class for its code. Each code has one status."""
    kind = NoReply if problem.get("code") == "no_reply" else _BY_STATUS.get(status, ApiError)
    return kind(status, problem, request_id=request_id, retry_after=retry_after)
