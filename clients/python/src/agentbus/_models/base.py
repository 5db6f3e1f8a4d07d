"""The base of the models."""

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """An object of the wire, read only. Members that this version does not know are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)
