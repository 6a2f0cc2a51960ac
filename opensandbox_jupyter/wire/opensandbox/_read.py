"""How answers become models."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from opensandbox_jupyter.wire.base import Call, Reply
from opensandbox_jupyter.wire.errors import decode_json, expect, invalid_answer

M = TypeVar("M", bound=BaseModel)
OK = (200,)

to_json = msgspec.json.Encoder().encode


def read_model(call: Call, reply: Reply, model: type[M], statuses: tuple[int, ...] = OK) -> M:
    """Return the body of a successful reply as ``model``."""
    return build(call, model, decode_json(call, expect(call, reply, statuses)))


def build(call: Call, model: type[M], data: Any) -> M:
    """Return ``data`` as ``model``, or raise the error of an answer that breaks the protocol."""
    try:
        return model.model_validate(data)
    except ValidationError as cause:
        raise invalid_answer(call, cause) from cause
