"""The base of the models."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """An object of the wire, read only. Members that this version does not know are kept."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", frozen=True, populate_by_name=True)
