"""One event loop in a thread of its own, for callers that must not block or be blocked.

Magics and widgets hand their work to the portal: it goes on while a cell computes, and a cell that
waits for it can be interrupted at once. Nothing here knows of sandboxes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from opensandbox_jupyter.exceptions import SandboxException

__all__ = ["Portal", "get_portal"]

T = TypeVar("T")

_SLICE = 0.1
_GRACE = 8.0


class Portal:
    """A running event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="opensandbox-portal", daemon=True)
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The portal's event loop."""
        return self._loop

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start ``coroutine`` on the portal and return its future at once."""
        # The context of the caller stays behind, too: it would tie the work to one cell.
        return contextvars.Context().run(asyncio.run_coroutine_threadsafe, coroutine, self._loop)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the portal and wait for its result.

        A KeyboardInterrupt cancels the coroutine, waits until it has cleaned up (8 s at most), and
        is raised.

        Raises:
            SandboxException: when called from the portal's own thread, which would wait for ever.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise SandboxException("A portal cannot wait for itself; await the coroutine instead.")
        ended = threading.Event()
        future = self.submit(_watched(coroutine, ended))
        try:
            while True:
                try:
                    return future.result(timeout=_SLICE)
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise
        except BaseException:
            if not future.done():
                future.cancel()
                ended.wait(_GRACE)  # a cancelled future is done before its task has cleaned up
            raise

    def close(self) -> None:
        """Cancel what runs and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=_GRACE)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


async def _watched(coroutine: Coroutine[Any, Any, T], ended: threading.Event) -> T:
    task = asyncio.ensure_future(coroutine)
    task.add_done_callback(lambda _: ended.set())
    return await task


_portal: tuple[int, Portal] | None = None
_lock = threading.Lock()


def get_portal() -> Portal:
    """Return the portal of this process; a forked child gets one of its own."""
    global _portal  # noqa: PLW0603
    with _lock:
        if _portal is None or _portal[0] != os.getpid():
            _portal = (os.getpid(), Portal())
        return _portal[1]
