"""A program's OpenAPI document, from a table of its operations and the types that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ["EVENTS", "Operation", "Parameter", "document"]

EVENTS = "text/event-stream"
_TEMPLATE = "#/components/schemas/{name}"


class Error(msgspec.Struct):
    """What every refusal says."""

    code: str
    message: str


@dataclass(frozen=True)
class Parameter:
    """One parameter of the query; a list's may be given several times."""

    name: str
    kind: Any = str
    required: bool = False


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    ``body`` is the type of the JSON that it reads, or the media type of another body; ``answer``
    is the same for what it says on success, ``None`` for nothing.
    """

    method: str
    path: str
    summary: str
    body: Any = None
    answer: Any = None
    query: Sequence[Parameter] = ()
    status: int = 200
    is_open: bool = False
    """Whether it is answered without a key."""
    body_required: bool = True


def document(
    title: str, version: str, operations: Sequence[Operation], key_header: str
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a program.

    Args:
        title: the program's name.
        version: the version of what it speaks.
        operations: all that it answers.
        key_header: the header that carries the key.
    """
    kinds: list[Any] = [Error]
    for operation in operations:
        kinds += [parameter.kind for parameter in operation.query]
        kinds += [
            kind
            for kind in (operation.body, operation.answer)
            if kind is not None and not isinstance(kind, str)
        ]
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template=_TEMPLATE, schema_hook=_anything
    )
    drawn = iter(schemas)
    error = next(drawn)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        found = paths.setdefault(operation.path, {})
        found[operation.method.lower()] = _operation(operation, drawn, error)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": key_header},
            },
        },
        "security": [{"key": []}],
    }


def _anything(_: type) -> dict[str, Any]:
    """Return the schema of what msgspec has none for: JSON of any kind."""
    return {"description": "JSON of any kind"}


def _operation(
    operation: Operation, drawn: Iterator[Any], error: Mapping[str, Any]
) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]
    parameters += [
        {"name": one.name, "in": "query", "required": one.required, "schema": next(drawn)}
        for one in operation.query
    ]
    name = re.sub(r"\W+", "_", f"{operation.method.lower()} {operation.path}").strip("_")
    found: dict[str, Any] = {
        "operationId": name,
        "summary": operation.summary,
        "responses": {"default": {"description": "It is refused.", "content": _json(error)}},
    }
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        content = _content(operation.body, drawn)
        found["requestBody"] = {"required": operation.body_required, "content": content}
    answer: dict[str, Any] = {"description": "It is done."}
    if operation.answer is not None:
        answer["content"] = _content(operation.answer, drawn)
    found["responses"][str(operation.status)] = answer
    if operation.is_open:
        found["security"] = []
    return found


def _content(kind: Any, drawn: Iterator[Any]) -> dict[str, Any]:
    return {kind: {}} if isinstance(kind, str) else _json(next(drawn))


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
