"""A request, its answer, and how to read it: what a call is before any of it goes over a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from ..errors import ApiError, UnexpectedAnswer, api_error
from .faults import faults

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

Query = list[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """A request. `path` begins with `/v1` and is encoded."""

    method: str
    path: str
    query: Query = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class Answer:
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the request was carried out."""
        return 200 <= self.status < 300  # noqa: PLR2004

    def error(self) -> ApiError:
        """The error that a refusal means."""
        try:
            problem = json.loads(self.body)
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            # A proxy answers with a page of its own.
            problem = {"detail": "the answer is not from agentbus"}
        return api_error(
            self.status, problem, request_id=self.headers.get("x-request-id"), retry_after=self._retry_after()
        )

    def _retry_after(self) -> float | None:
        text = self.headers.get("retry-after", "")
        if text.isdigit():
            return float(text)
        try:
            until = parsedate_to_datetime(text)
            now = parsedate_to_datetime(self.headers["date"])
        except (ValueError, KeyError):
            return None
        return max(0.0, (until - now).total_seconds())


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request with the way to read its answer.

    `safe`: it may be repeated when its answer is lost. `holds`: seconds for which the server is asked to hold the
    answer open. `lost_is_done`: 410 after an attempt whose answer was lost means that this attempt succeeded.
    """

    request: Request
    read: Callable[[Answer], T]
    safe: bool = False
    holds: float = 0.0
    lost_is_done: bool = False


def path(*segments: str) -> str:
    """The path below `/v1` of these segments."""
    return "/".join(["/v1", *(quote(segment, safe="") for segment in segments)])


def query(parameters: Mapping[str, Any]) -> Query:
    """Query parameters. Sequences repeat a name; None leaves it out."""
    pairs: Query = []
    for name, value in parameters.items():
        if isinstance(value, Iterable) and not isinstance(value, str):
            pairs += [(name, text(each)) for each in value]
        elif value is not None:
            pairs.append((name, text(value)))
    return pairs


def text(value: Any) -> str:
    """A value as the server reads it in a query or a member."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time needs a time zone, such as datetime.timezone.utc")
        return value.isoformat()
    return str(value)


def given(**members: Any) -> dict[str, Any]:
    """The members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def to_json(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def get(
    path: str, read: Callable[[Answer], T], parameters: Mapping[str, Any] | None = None, *, holds: float = 0.0
) -> Call[T]:
    """A GET, which may always be repeated."""
    return Call(Request("GET", path, query(parameters or {})), read, safe=True, holds=holds)


def send(
    method: str,
    path: str,
    body: Any,
    read: Callable[[Answer], T],
    *,
    safe: bool = False,
    lost_is_done: bool = False,
) -> Call[T]:
    """A request with a JSON body; None for no body."""
    encoded = None if body is None else to_json(body)
    headers = {} if encoded is None else {"content-type": "application/json"}
    return Call(Request(method, path, [], headers, encoded), read, safe=safe, lost_is_done=lost_is_done)


def model(kind: type[M]) -> Callable[[Answer], M]:
    """Reads an answer as this model."""

    def read(answer: Answer) -> M:
        try:
            return kind.model_validate_json(answer.body)
        except ValidationError as error:
            raise UnexpectedAnswer(f"the answer is no {kind.__name__}: {faults(error)}") from None

    return read


def models(kind: type[M], member: str) -> Callable[[Answer], list[M]]:
    """Reads an answer whose `member` is a list of this model."""

    def read(answer: Answer) -> list[M]:
        return items(kind, document(answer).get(member))

    return read


def items(kind: type[M], values: Any, shared: Mapping[str, Any] | None = None) -> list[M]:
    """Reads a list of this model. `shared` are members that each item gets."""
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise UnexpectedAnswer(f"the answer has no list of {kind.__name__}")
    try:
        return [kind.model_validate({**(shared or {}), **value}) for value in values]
    except ValidationError as error:
        raise UnexpectedAnswer(f"the answer has no list of {kind.__name__}: {faults(error)}") from None


def document(answer: Answer) -> dict[str, Any]:
    """Reads an answer as a JSON object."""
    try:
        value = json.loads(answer.body)
    except ValueError as error:
        raise UnexpectedAnswer(f"the answer is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UnexpectedAnswer("the answer is not a JSON object")
    return value


def nothing(_answer: Answer) -> None:
    """Reads no answer."""
