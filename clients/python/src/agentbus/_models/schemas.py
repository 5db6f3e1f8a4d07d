"""Schemas of payloads."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from .base import Document


class Schema(Document):
    """A version of the schema of a type. The newest counts."""

    kind: str
    type: str
    version: int
    """From 1 on."""
    mode: str = ""
    """`off`, `warn` or `enforce`."""
    content: str = ""
    """What the content is: `text`, or `json` in a text."""
    json_schema: dict[str, Any] | bool | None = Field(default=None, alias="schema")
    """JSON Schema 2020-12 for `{content, metadata}`; None in the list of all schemas."""
    created_at: datetime | None = None
    created_by: str | None = None
