"""What all models have in common: snake_case in Python, camelCase on the lifecycle wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from opensandbox_jupyter.exceptions import InvalidArgumentException


class Model(BaseModel):
    """A model that reads answers leniently: unknown fields are ignored, both spellings accepted."""

    model_config = ConfigDict(
        extra="ignore", populate_by_name=True, defer_build=True, hide_input_in_errors=True
    )


def sentence(error: Any) -> str:
    """Return what is wrong, field by field, in one line and without the values."""
    faults = []
    for item in error.errors(include_url=False, include_input=False):
        place = ".".join(str(step) for step in item["loc"])
        reason = item["msg"].removeprefix("Value error, ")
        faults.append(f"{place}: {reason}" if place else reason)
    return f"{error.title}: " + "; ".join(faults)


class LifecycleModel(Model):
    """A model whose wire names are camelCase."""

    model_config = ConfigDict(alias_generator=to_camel)


class Request(Model):
    """A model that a caller fills in: an unknown field is a typing mistake and is refused."""

    model_config = ConfigDict(extra="forbid")

    if not TYPE_CHECKING:

        def __init__(self, **data: Any) -> None:
            """Take the fields by name; raise ``InvalidArgumentException`` for a bad one."""
            try:
                super().__init__(**data)
            except ValidationError as cause:
                raise InvalidArgumentException(sentence(cause), cause=cause) from None


class LifecycleRequest(Request):
    """A request whose wire names are camelCase."""

    model_config = ConfigDict(alias_generator=to_camel)
