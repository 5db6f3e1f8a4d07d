"""Schemas of payloads (contract, section 13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel

from ..._models.schemas import Schema
from ..fields import Kind
from ..request import Call, Request, document, get, given, model, models, nothing, path, send

Mode: TypeAlias = Literal["off", "warn", "enforce"]
SchemaLike: TypeAlias = Mapping[str, Any] | type[BaseModel]
"""JSON Schema 2020-12 for `{content, metadata}`; or a model of the content."""


def schemas() -> Call[list[Schema]]:
    """The newest version of each schema."""
    return get(path("schemas"), models(Schema, "schemas"))


def schema(kind: Kind, type: str) -> Call[Schema]:
    """The newest version of one schema."""
    return get(path("schemas", kind, type), model(Schema))


def schema_versions(kind: Kind, type: str) -> Call[list[Schema]]:
    """All versions of one schema."""
    return get(path("schemas", kind, type, "versions"), models(Schema, "versions"))


def put_schema(kind: Kind, type: str, schema: SchemaLike, content: str | None, mode: Mode | None) -> Call[Schema]:
    """Makes a new version. The same one again makes none."""
    return send("PUT", path("schemas", kind, type), _body(schema, content, mode), model(Schema))


def check_schema(kind: Kind, type: str, schema: SchemaLike, content: str | None) -> Call[int]:
    """Tries a schema on the messages that there are."""
    call = send(
        "PUT",
        path("schemas", kind, type),
        _body(schema, content, None),
        lambda answer: int(document(answer).get("incompatible", 0)),
    )
    return replace(call, request=replace(call.request, query=[("check", "true")]))


def delete_schema(kind: Kind, type: str) -> Call[None]:
    """Deletes a schema with all its versions."""
    return Call(Request("DELETE", path("schemas", kind, type)), nothing)


def _body(schema: SchemaLike, content: str | None, mode: Mode | None) -> dict[str, Any]:
    if isinstance(schema, type):
        return given(schema=_of_content(schema), content=content or "json", mode=mode)
    return given(schema=schema, content=content, mode=mode)


def _of_content(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of messages whose content fits a model. Its definitions are found at the root."""
    content = model.model_json_schema()
    definitions = content.pop("$defs", None)
    return given(**{"$defs": definitions, "type": "object", "properties": {"content": content}})
