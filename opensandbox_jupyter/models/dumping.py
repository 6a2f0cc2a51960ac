"""Plain dataclasses that are written down as a model of pydantic is. Light until it is done."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["Dumped"]


class Dumped:
    """A dataclass with the two ways of pydantic's models to write one down."""

    __slots__ = ()

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Return the fields as a dict; ``options`` are those of pydantic, such as ``mode``."""
        fields: dict[str, Any] = _adapter_of(self).dump_python(self, **options)
        return fields

    def model_dump_json(self, **options: Any) -> str:
        """Return the fields as JSON; ``options`` are those of pydantic, such as ``indent``."""
        text: bytes = _adapter_of(self).dump_json(self, **options)
        return text.decode()


def _adapter_of(value: Dumped) -> Any:
    kind: Any = type(value)
    return _adapter(kind)


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
