"""Calls for schemas of payloads."""

from __future__ import annotations

from typing import Literal

from .._core.calls import schemas
from .._core.calls.schemas import Mode, SchemaLike
from .._core.fields import Kind
from .._models.schemas import Schema
from .base import Base


class SchemaCalls(Base):
    """What the server demands of messages of a type (contract, section 13). Changes need a key that `can schemas`."""

    def schemas(self) -> list[Schema]:
        """The newest version of each schema, without the JSON Schemas."""
        return self._run(schemas.schemas())

    def schema(self, kind: Kind, type: str) -> Schema:
        """The newest version of the schema of a type. NotFound if there is none."""
        return self._run(schemas.schema(kind, type))

    def schema_versions(self, kind: Kind, type: str) -> list[Schema]:
        """The versions that are kept, newest first. NotFound if there is none."""
        return self._run(schemas.schema_versions(kind, type))

    def put_schema(
        self,
        kind: Kind,
        type: str,
        schema: SchemaLike,
        *,
        content: Literal["text", "json"] | None = None,
        mode: Mode | None = None,
    ) -> Schema:
        """Makes a new version of the schema of a type; none if it equals the newest one.

        `schema` is JSON Schema 2020-12 for `{content, metadata}`, or a pydantic model of the content, then JSON.
        `mode` is `enforce` (the default: other messages are Invalid, `schema_violation`), `warn` or `off`.
        """
        return self._run(schemas.put_schema(kind, type, schema, content, mode))

    def check_schema(
        self, kind: Kind, type: str, schema: SchemaLike, *, content: Literal["text", "json"] | None = None
    ) -> int:
        """How many of the last 1,000 messages of the type a schema would refuse. Stores nothing."""
        return self._run(schemas.check_schema(kind, type, schema, content))

    def delete_schema(self, kind: Kind, type: str) -> None:
        """Deletes the schema of a type with all its versions. NotFound if there is none."""
        self._run(schemas.delete_schema(kind, type))
