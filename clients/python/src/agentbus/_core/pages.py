"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from .request import Answer, Call, document, get, items

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Pages(Protocol[T]):
    """A list that comes in pages."""

    more: bool
    """Whether there may be another page."""

    def call(self) -> Call[list[T]]:
        """Gets the next page."""
        ...


class Listing(Generic[M]):
    """The pages of one list. `shared` are members of a page that each of its items gets."""

    def __init__(
        self, path: str, member: str, kind: type[M], query: Mapping[str, Any], shared: tuple[str, ...] = ()
    ) -> None:
        self._path = path
        self._member = member
        self._kind = kind
        self._query = dict(query)
        self._shared = shared
        self.more = True
        """Whether there may be another page."""

    def call(self) -> Call[list[M]]:
        """Gets the next page."""
        return get(self._path, self._read, self._query)

    def _read(self, answer: Answer) -> list[M]:
        page = document(answer)
        shared = {name: page[name] for name in self._shared if name in page}
        found = items(self._kind, page.get(self._member), shared)
        self._query["after"] = page.get("next")
        self.more = page.get("next") is not None
        return found
