"""Prints, as JSON, every public name of a package: ``surface.py PACKAGE...``.

Modules, classes, methods with their parameters in order, properties, fields of models, members of
enumerations and constants; behind each parameter and field ``=`` and its default, before one that
is given by name only ``*``. Runs in either environment.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import json
import pkgutil
import sys
import warnings

warnings.simplefilter("ignore")
SKIPPED = ("adapters", "api", "internal", "cli")


def modules(package: str) -> list[str]:
    root = importlib.import_module(package)
    found = [package]
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        parts = info.name.split(".")
        if not any(part.startswith("_") or part in SKIPPED for part in parts[1:]):
            found.append(info.name)
    return found


def parameters(function: object) -> list[str]:
    """Return parameters in their order: ``name``, ``name=default`` or ``*name=default``."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        "*" * (one.kind is one.KEYWORD_ONLY) + one.name + default(one.default)
        for one in found
        if one.name not in {"self", "cls"} and not one.name.startswith("_")
        and one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}
    ]  # fmt: skip


def default(value: object) -> str:
    """Return ``=`` and a default, nothing when there is none, and no addresses."""
    if value is inspect.Parameter.empty:
        return ""
    shown = repr(value)
    return f"={type(value).__name__}" if callable(value) or " at 0x" in shown else f"={shown}"


def fields(cls: type) -> dict[str, str]:
    empty = inspect.Parameter.empty
    known = getattr(cls, "model_fields", None)
    if isinstance(known, dict):
        return {
            name: "field"
            + default(empty if one.is_required() else one.get_default(call_default_factory=True))
            for name, one in known.items()
            if not name.startswith("_")
        }
    if dataclasses.is_dataclass(cls):
        return {
            one.name: "field" + default(initial(one))
            for one in dataclasses.fields(cls)
            if not one.name.startswith("_")
        }
    return {}


def initial(field: dataclasses.Field) -> object:
    """Return the default of a dataclass's field."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty


def checks(cls: type) -> set[str]:
    """Return the names of a model's validators, which nobody calls."""
    found = getattr(cls, "__pydantic_decorators__", None)
    if found is None:
        return set()
    kinds = [getattr(found, field.name) for field in dataclasses.fields(found)]
    return {name for kind in kinds if isinstance(kind, dict) for name in kind}


def members(cls: type) -> dict[str, object]:
    if issubclass(cls, enum.Enum):
        return {name: str(one.value) for name, one in cls.__members__.items()}
    found: dict[str, object] = dict(fields(cls))
    validators = checks(cls)
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] in {"pydantic", "builtins", "typing", "enum", "abc"}:
            continue
        for name, value in vars(base).items():
            if name.startswith(("_", "model_")) or name in found or name in validators:
                continue
            inner = getattr(value, "__func__", value)
            if inspect.isfunction(inner):
                found[name] = parameters(inner)
            elif isinstance(value, property) or inspect.isdatadescriptor(value):
                found[name] = "property"
            elif isinstance(value, str | int | float):
                found[name] = str(value)
    return found


def is_from_elsewhere(value: object, module: str) -> bool:
    return getattr(value, "__module__", module) != module


def surface(package: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for name in modules(package):
        module = importlib.import_module(name)
        here: dict[str, object] = {}
        told = getattr(module, "__all__", None)
        late = module.__dir__() if "__dir__" in vars(module) else ()
        for key in {*(told or vars(module)), *late}:
            value = getattr(module, key)
            if key.startswith("_") or (told is None and is_from_elsewhere(value, name)):
                continue
            if inspect.isclass(value) and value.__module__.startswith(
                package.split(".", maxsplit=1)[0]
            ):
                here[key] = members(value)
            elif inspect.isfunction(value) and (told or value.__module__ == name):
                here[key] = parameters(value)
            elif isinstance(value, str | int) and key.isupper() and name.endswith("constants"):
                here[key] = str(value)
        found[name.removeprefix(package).lstrip(".")] = here
    return found


if __name__ == "__main__":
    print(json.dumps({package: surface(package) for package in sys.argv[1:]}))
