"""The blocking colour of an SDK behind the async face, so that each step is written once."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any


class Awaited:
    """A blocking object whose methods can be awaited."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return awaited(getattr(self._inner, name))

    async def __aenter__(self) -> Any:
        return awaited(self._inner.__enter__())

    async def __aexit__(self, *error: Any) -> None:
        self._inner.__exit__(*error)


class Promise:
    """A blocking call whose result can be awaited, iterated over or entered."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    def __await__(self) -> Generator[None, None, Any]:
        return awaited(self._call())
        yield

    def __aiter__(self) -> Any:
        return iterate(self._call())

    def __getattr__(self, name: str) -> Any:
        return getattr(awaited(self._call()), name)

    async def __aenter__(self) -> Any:
        self._entered = self._call()
        return awaited(self._entered.__enter__())

    async def __aexit__(self, *error: Any) -> None:
        self._entered.__exit__(*error)


def awaited(value: Any) -> Any:
    """Return ``value`` as the async SDK would have it."""
    if inspect.isgenerator(value):
        return iterate(value)
    if inspect.ismethod(value) or inspect.isfunction(value):
        return promise(value)
    return Awaited(value) if ".sync." in type(value).__module__ else value


def promise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` as one whose result is awaited."""
    return lambda *args, **kwargs: Promise(lambda: function(*args, **kwargs))


class Face:
    """A class of the blocking SDK, whose class methods are awaited."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls

    def __getattr__(self, name: str) -> Any:
        return promise(getattr(self._cls, name))


async def iterate(values: Iterator[Any]) -> AsyncIterator[Any]:
    """Return an iterator as an async one."""
    for value in values:
        yield value


def inner(value: Any) -> Any:
    """Return the blocking object that is behind ``value``."""
    return value._inner if isinstance(value, Awaited) else value


def drive(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing but blocking calls."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits for an event loop")
