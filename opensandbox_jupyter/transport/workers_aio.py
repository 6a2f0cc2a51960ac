"""Work in the background of an async object: tasks of the running event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

__all__ = ["Mutex", "Signal", "Workers", "each"]

T = TypeVar("T")
A = TypeVar("A")
_Work = Coroutine[Any, Any, T]

log = logging.getLogger("opensandbox_jupyter")

Mutex = asyncio.Lock


class Signal:
    """Something that has happened, or not yet."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """It has happened."""
        self._event.set()

    def clear(self) -> None:
        """It has not happened yet."""
        self._event.clear()

    def is_set(self) -> bool:
        """Return whether it has happened."""
        return self._event.is_set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it happens, so many seconds at most, and return whether it has."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            return False
        return True


class Workers:
    """Tasks that somebody answers for: they are waited for, and none is lost half-way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._firm: set[asyncio.Task[Any]] = set()

    def start(self, name: str, work: Callable[[], _Work[None]], *, firm: bool = False) -> None:
        """Begin ``work`` in the background; what is firm is never cancelled."""
        task = self._track(work(), firm=firm)
        task.set_name(name)

    async def whole(self, work: Callable[[], _Work[T]]) -> T:
        """Do ``work`` to its end, even while being cancelled; the cancellation is raised then."""
        task = self._track(work(), firm=True)
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return task.result()

    async def claim(
        self,
        work: Callable[[], _Work[T]],
        undo: Callable[[T], _Work[None]],
    ) -> T:
        """Return what ``work`` gets; when cancelled meanwhile, what it gets later is undone."""
        task = self._track(work(), firm=True)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            self._track(_undone(task, undo), firm=True)
            raise
        return task.result()

    def cancel(self) -> None:
        """Ask all but the firm and the current task to stop."""
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    async def settle(self, timeout: float) -> bool:
        """Wait until nothing but the current task is left, so many seconds at most.

        Returns:
            Whether that is so.
        """
        end = asyncio.get_running_loop().time() + timeout
        while left := (self._tasks | self._firm) - {asyncio.current_task()}:
            rest = end - asyncio.get_running_loop().time()
            if rest <= 0:
                return False
            await asyncio.wait(left, timeout=rest)
        return True

    def _track(self, work: _Work[T], *, firm: bool) -> asyncio.Task[T]:
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        kind = self._firm if firm else self._tasks
        kind.add(task)
        task.add_done_callback(kind.discard)
        task.add_done_callback(_noted)
        return task


async def each(work: Callable[[A], _Work[T]], arguments: Iterable[A], *, at_once: int) -> list[T]:
    """Do the same work for each argument, so many at once, and return the results in order."""
    places = asyncio.Semaphore(at_once)

    async def one(argument: A) -> T:
        async with places:
            return await work(argument)

    return await asyncio.gather(*(one(argument) for argument in arguments))


async def _undone(task: asyncio.Task[T], undo: Callable[[T], _Work[None]]) -> None:
    await asyncio.wait({task})
    if not task.cancelled() and task.exception() is None:
        await undo(task.result())


def _noted(task: asyncio.Task[Any]) -> None:
    """Look at how a task ended, so that asyncio does not complain that nobody did."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("%s: %r", task.get_name(), error)
