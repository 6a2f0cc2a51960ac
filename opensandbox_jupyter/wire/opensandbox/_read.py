"""How answers become models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.wire.base import Call, Reply
from opensandbox_jupyter.wire.errors import decode_json, expect, invalid_answer

M = TypeVar("M")
OK = (200,)

_encode = msgspec.json.Encoder().encode


def to_json(body: object) -> bytes:
    """Return the body of a request.

    Raises:
        InvalidArgumentException: for text that is none.
    """
    try:
        return _encode(body)
    except UnicodeEncodeError as cause:
        raise InvalidArgumentException(
            "Text that goes to a sandbox must be Unicode, without lone surrogates.", cause=cause
        ) from None


def read_model(call: Call, reply: Reply, model: type[M], statuses: tuple[int, ...] = OK) -> M:
    """Return the body of a successful reply as ``model``."""
    return build(call, model, decode_json(call, expect(call, reply, statuses)))


def build(call: Call, model: type[M], data: Any) -> M:
    """Return ``data`` as ``model``, or raise the error of an answer that breaks the protocol.

    ``model`` is pydantic's, or a plain dataclass, for which pydantic need not be loaded.
    """
    try:
        if hasattr(model, "model_validate"):
            from opensandbox_jupyter.models._base import read_answer

            read: Any = read_answer
            found: M = read(model, data)
            return found
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if value is not None}
        return msgspec.convert(data, model)
    except (msgspec.ValidationError, ValueError, InvalidArgumentException) as cause:
        raise invalid_answer(call, cause) from cause


def as_sent(value: Any) -> Any:
    """Return a model, or a collection of them, as it goes on the wire."""
    if hasattr(value, "model_dump"):
        return value.model_dump(by_alias=True, exclude_none=True)
    if isinstance(value, Mapping):
        return {key: as_sent(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_sent(inner) for inner in value]
    return value
