"""Two ways to wait for a job: awaiting, which leaves the kernel free to react, and blocking.

Both wake ten times a second to draw, which also makes an interrupt immediate. The first interrupt
stops the command and waits for its end; a second one stops the waiting.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.job import Job
    from opensandbox_jupyter.models.execd import Execution

__all__ = ["block_on", "follow"]

_TICK = 0.1
_WIND_DOWN = 6.0


async def follow(job: Job) -> None:
    """Wait for the end of a job in a cell's own task. A cancellation is an interrupt."""
    future = asyncio.wrap_future(job.future)
    try:
        while not job.future.done():
            await asyncio.wait({future}, timeout=_TICK)
            job.view.draw()
    except asyncio.CancelledError:
        _forget_cancellation()
        await _wind_down(job, future)
    except BaseException:
        job.stop()
        raise


def block_on(job: Job) -> None:
    """Wait for the end of a job in slices. An interrupt is noticed between two of them.

    A KeyboardInterrupt could strike in the middle of drawing; a flag cannot.
    """
    deadline = math.inf
    try:
        with _interrupts() as pressed:
            while not job.future.done():
                concurrent.futures.wait({job.future}, timeout=_TICK)
                job.view.draw()
                if pressed and deadline == math.inf:
                    job.stop()
                    deadline = time.monotonic() + _WIND_DOWN
                if len(pressed) > 1 or time.monotonic() >= deadline:
                    job.give_up()
                    return
    except BaseException:
        job.stop()
        raise


async def _wind_down(job: Job, future: asyncio.Future[Execution | None]) -> None:
    job.stop()
    deadline = time.monotonic() + _WIND_DOWN
    with _interrupts() as pressed:
        try:
            while not (job.future.done() or pressed or time.monotonic() >= deadline):
                await asyncio.wait({future}, timeout=_TICK)
                job.view.draw()
        except asyncio.CancelledError:
            _forget_cancellation()
    job.give_up()


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect interrupts instead of raising them. Other threads than the main one get none."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _forget_cancellation() -> None:
    """Take back the request to cancel this task: it goes on, to clean up and to tell."""
    task = asyncio.current_task()
    uncancel = getattr(task, "uncancel", None)  # since Python 3.11
    if uncancel is not None:
        uncancel()
