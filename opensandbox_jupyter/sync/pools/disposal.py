"""How a pool ends sandboxes that it does not want any more.

Generated from ``pools/disposal.py`` by ``scripts/make_sync.py``: change that file, ``make
generate``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import SandboxApiException
from opensandbox_jupyter.transport.workers_blocking import Workers, each

if TYPE_CHECKING:
    from opensandbox_jupyter.sync.manager import SandboxManagerSync

    OpenManager = Callable[[], SandboxManagerSync]

__all__ = ["AT_ONCE", "Disposal", "end_sandboxes"]

log = logging.getLogger("opensandbox_jupyter")

AT_ONCE = 50
_NOT_THERE = 404


def end_sandboxes(
    open_manager: OpenManager, sandbox_ids: Sequence[str], *, at_once: int = AT_ONCE
) -> list[str]:
    """End sandboxes, so many at once, and return those that may still be there."""
    if not sandbox_ids:
        return []
    try:
        manager = open_manager()
    except Exception as error:
        log.debug("No sandbox of a pool can be ended: %s", error)
        return [*sandbox_ids]

    def end(sandbox_id: str) -> bool:
        try:
            manager.kill_sandbox(sandbox_id)
        except Exception as error:
            if isinstance(error, SandboxApiException) and error.status_code == _NOT_THERE:
                return True
            log.debug("The sandbox %s of a pool could not be ended: %s", sandbox_id, error)
            return False
        return True

    try:
        ended = each(end, sandbox_ids, at_once=at_once)
    finally:
        with suppress(Exception):
            manager.close()
    return [one for one, is_gone in zip(sandbox_ids, ended, strict=True) if not is_gone]


class Disposal:
    """Sandboxes to end in the background. What cannot be ended now is tried again."""

    def __init__(self, workers: Workers, open_manager: OpenManager) -> None:
        self._workers = workers
        self._open_manager = open_manager
        self._waiting: list[str] = []
        self._left: list[str] = []
        self._told: set[str] = set()
        self._is_sweeping = False
        self._lock = threading.Lock()

    def add(self, sandbox_ids: Iterable[str]) -> None:
        """End these soon."""
        with self._lock:
            self._waiting += sandbox_ids
            if self._is_sweeping or not self._waiting:
                return
            self._is_sweeping = True
        try:
            self._workers.start("opensandbox-pool-disposal", self._sweep, firm=True)
        except RuntimeError as error:  # no thread can be started: what waits is tried at the end
            log.warning("Sandboxes of a pool cannot be ended yet: %s", error)
            with self._lock:
                self._is_sweeping = False

    def retry(self) -> None:
        """Try those again that could not be ended."""
        with self._lock:
            again, self._left = self._left, []
        self.add(again)

    def finish(self) -> None:
        """Try a last time, and tell what is left."""
        with self._lock:
            rest, self._left, self._waiting = [*self._left, *self._waiting], [], []
        left = end_sandboxes(self._open_manager, rest)
        if left:
            log.warning("%d sandboxes of a pool are left to their end of life: %s", len(left), left)

    def _sweep(self) -> None:
        while True:
            with self._lock:
                batch, self._waiting = self._waiting, []
                if not batch:
                    self._is_sweeping = False
                    return
            left = end_sandboxes(self._open_manager, batch)
            with self._lock:
                self._left += left
                new, self._told = set(left) - self._told, self._told | set(left)
            if new:
                log.warning("Sandboxes of a pool cannot be ended yet: %s", ", ".join(new))
