"""Typed content: a model for each type of message, checked when it is sent and when it is read.

Content is text on the wire. Content with a model is the JSON of that model.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

from ._core.faults import faults
from .errors import ContentError

T = TypeVar("T")


# Making one takes a millisecond.
_adapter: Callable[[Any], TypeAdapter[Any]] = lru_cache(maxsize=1024)(TypeAdapter)


class Contents:
    """The models of a client, by type of message."""

    def __init__(self) -> None:
        self._models: dict[str, Any] = {}

    def register(self, type: str, model: Any) -> None:
        """From now on, content of this type must fit the model."""
        self._models[type] = model

    def parse(self, type: str, content: str) -> Any:
        """The content as the model of its type. ContentError if there is none or it does not fit."""
        if type not in self._models:
            raise ContentError(type, "no model is registered for it")
        return self.read(type, content, self._models[type])

    def text(self, type: str, content: Any) -> str:
        """The content as text. ContentError if it does not fit the model of its type.

        Without a model for the type, text is left as it is, and everything else becomes JSON.
        """
        model = self._models.get(type)
        if model is None:
            return content if isinstance(content, str) else self._dump(type, content, None)
        encoded = content if isinstance(content, str) else self._dump(type, content, model)
        self.read(type, encoded, model)
        return encoded

    @staticmethod
    def read(type: str, content: str, model: builtins.type[T]) -> T:
        """The JSON text as this model. ContentError if it does not fit."""
        try:
            value: T = _adapter(model).validate_json(content)
        except ValidationError as error:
            raise ContentError(type, faults(error)) from None
        return value

    @staticmethod
    def _dump(type: str, content: Any, model: Any) -> str:
        try:
            if model is not None and not isinstance(content, BaseModel):
                content = _adapter(model).validate_python(content)
            return to_json(content, by_alias=True).decode()
        except ValidationError as error:
            raise ContentError(type, faults(error)) from None
        except ValueError as error:
            raise ContentError(type, str(error)) from None
