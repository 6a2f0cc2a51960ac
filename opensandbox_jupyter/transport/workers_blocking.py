"""Work in the background of a blocking object: threads, which end with the program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

__all__ = ["Mutex", "Signal", "Workers", "each"]

T = TypeVar("T")
A = TypeVar("A")

Mutex = threading.Lock


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
        if threading.current_thread() is not threading.main_thread():
            return work()  # only the main thread is interrupted
        future: Future[T] = Future()
        try:
            self.start("opensandbox-claim", partial(_fulfil, future, work))
            return future.result()
        except BaseException as error:
            if not (future.done() and future.exception() is error):
                future.add_done_callback(partial(_undone, undo))
            raise

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


def _fulfil(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _undone(undo: Callable[[T], None], future: Future[T]) -> None:
    if future.exception() is None:
        undo(future.result())


def each(work: Callable[[A], T], arguments: Iterable[A], *, at_once: int) -> list[T]:
    """Do the same work for each argument, so many at once, and return the results in order."""
    todo = list(arguments)
    if len(todo) < 2:
        return [work(argument) for argument in todo]
    with ThreadPoolExecutor(min(at_once, len(todo)), "opensandbox-each") as executor:
        return list(executor.map(work, todo))
