"""What all models have in common: snake_case in Python, camelCase on the lifecycle wire."""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from opensandbox_jupyter.exceptions import InvalidArgumentException

M = TypeVar("M", bound=BaseModel)


_reading: ContextVar[bool] = ContextVar("_reading", default=False)


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
    """A model of an answer, whose wire names are camelCase. It is dumped in its own."""

    model_config = ConfigDict(alias_generator=AliasGenerator(validation_alias=to_camel))


class CamelModel(Model):
    """The same, dumped in wire names where ``by_alias`` asks for them."""

    model_config = ConfigDict(alias_generator=to_camel)


class Request(Model):
    """A model that a caller fills in: an unknown field is a typing mistake and is refused.

    Where a server's answer holds one, it is read as leniently as the rest of the answer.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_newer(cls, data: Any) -> Any:
        if not _reading.get() or not isinstance(data, dict):
            return data
        known = _names_of(cls)
        return {name: value for name, value in data.items() if name in known}

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


def read_answer(model: type[M], data: Any) -> M:
    """Return what a server sent as a model; what it knows and we do not yet is let pass.

    Raises:
        ValidationError: when something that is needed is not there, or is of another kind.
        InvalidArgumentException: the same, of a model within the model.
    """
    before = _reading.set(True)
    try:
        return model.model_validate(data)
    finally:
        _reading.reset(before)


def _or_newer(value: Any, known: ValidatorFunctionWrapHandler) -> Any:
    try:
        return known(value)
    except ValidationError:
        if _reading.get() and isinstance(value, str):
            return value
        raise


OrNewer = WrapValidator(_or_newer)
"""Marks a choice of words: in an answer, a newer server's word is kept as it is."""


@cache
def _names_of(model: type[BaseModel]) -> frozenset[str]:
    """Return every name that a field of a model may have."""
    names = set(model.model_fields)
    for field in model.model_fields.values():
        alias = field.validation_alias
        names.update(
            str(choice)
            for choice in (alias.choices if isinstance(alias, AliasChoices) else [alias])
        )
    return frozenset(names)
