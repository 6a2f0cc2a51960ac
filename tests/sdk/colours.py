"""What lets one test serve both colours: blocking objects whose methods can be awaited."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import opensandbox_jupyter


class Awaited:
    """A blocking object whose methods can be awaited, so that one test serves both colours."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return awaited(getattr(self._inner, name))

    async def __aenter__(self) -> Awaited:
        self._inner.__enter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._inner.__exit__(*error)


def awaited(value: Any) -> Any:
    """Return ``value`` as the async SDK would have it."""
    if inspect.isgenerator(value):
        return iterate(value)
    if inspect.ismethod(value) or inspect.isfunction(value):
        return promise(value)
    if type(value).__module__.startswith(f"{opensandbox_jupyter.__name__}.sync"):
        return Awaited(value)
    return value


class Promise:
    """A blocking call whose result can be awaited, or iterated over as the async SDK's can."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    def __await__(self) -> Generator[None, None, Any]:
        return awaited(self._call())
        yield

    def __aiter__(self) -> Any:
        return iterate(self._call())


def promise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` as one whose result is awaited."""
    return lambda *args, **kwargs: Promise(lambda: function(*args, **kwargs))


async def iterate(values: Iterator[Any]) -> AsyncIterator[Any]:
    """Return an iterator as an async one."""
    for value in values:
        yield value
