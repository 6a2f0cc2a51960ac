"""Work in the background of a blocking object: threads, which end with the program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

__all__ = ["Mutex", "Signal", "Workers", "claim", "each"]

T = TypeVar("T")
A = TypeVar("A")

Mutex = threading.Lock

_GLANCE = 0.5
"""Seconds after which a wait begins anew: an interrupt just before a wait does not end it."""


class Signal:
    """Something that has happened, or not yet."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """It has happened."""
        self._event.set()

    def clear(self) -> None:
        """It has not happened yet."""
        self._event.clear()

    def is_set(self) -> bool:
        """Return whether it has happened."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it happens, so many seconds at most, and return whether it has."""
        return self._event.wait(timeout)


class Workers:
    """Threads that somebody answers for: they are waited for."""

    def __init__(self) -> None:
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def start(self, name: str, work: Callable[[], None], *, firm: bool = False) -> None:
        """Begin ``work`` in the background."""

        thread = threading.Thread(target=work, name=name, daemon=True)
        with self._lock:
            thread.start()
            self._threads = {*filter(threading.Thread.is_alive, self._threads), thread}

    def whole(self, work: Callable[[], T]) -> T:
        """Do ``work``. A thread is not cancelled, so it comes to its end."""
        return work()

    def claim(self, work: Callable[[], T], undo: Callable[[T], None]) -> T:
        """Return what ``work`` gets; when interrupted meanwhile, what it gets later is undone."""
        return claim(work, undo, start=partial(self.start, "opensandbox-claim"))

    def cancel(self) -> None:
        """Threads are not cancelled: they look at the signals that they were given."""

    def settle(self, timeout: float) -> bool:
        """Wait until nothing but the current thread is left, so many seconds at most.

        Returns:
            Whether that is so.
        """
        end = time.monotonic() + timeout
        while True:
            with self._lock:
                left = {*filter(threading.Thread.is_alive, self._threads)}
                left.discard(threading.current_thread())
            if not left:
                return True
            rest = end - time.monotonic()
            if rest <= 0:
                return False
            next(iter(left)).join(rest)


def claim(
    work: Callable[[], T],
    undo: Callable[[T], Any],
    *,
    start: Callable[[Callable[[], None]], None] | None = None,
    patience: float = 0.0,
) -> T:
    """Return what ``work`` gets, which must not be lost: when interrupted meanwhile, it is undone.

    Args:
        work: what gets it; in a thread, since the main one is interrupted.
        undo: given what was got.
        start: begins the thread; by itself one that ends with the program.
        patience: how many seconds an interrupt waits for what is still to come. What comes later
            is undone, too, while the program lives.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()  # only the main thread is interrupted
    got: list[T] = []
    errors: list[BaseException] = []
    lock, ended = threading.Lock(), threading.Event()
    is_wanted = True

    def run() -> None:
        try:
            result = work()
            with lock:
                got.append(result)
                is_late = not is_wanted
            if is_late:
                undo(result)
        except BaseException as error:
            errors.append(error)
        ended.set()

    try:
        (start or _start)(partial(copy_context().run, run))
        while not ended.wait(_GLANCE):
            pass
        if not errors:
            return got[0]
    except KeyboardInterrupt:
        with lock:
            is_wanted = False
            in_time = list(got)
        if in_time:
            undo(in_time[0])
        else:
            ended.wait(patience)
        raise
    raise errors[0]


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="opensandbox-claim", daemon=True).start()


def each(work: Callable[[A], T], arguments: Iterable[A], *, at_once: int) -> list[T]:
    """Do the same work for each argument, so many at once, and return the results in order."""
    todo = list(arguments)
    if len(todo) < 2:
        return [work(argument) for argument in todo]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(at_once, len(todo)), "opensandbox-each") as executor:
        return list(executor.map(work, todo))
