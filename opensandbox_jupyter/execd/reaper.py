"""Reaping what others leave behind, which only process 1 must do."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from opensandbox_jupyter.execd.processes import is_own

__all__ = ["reap_orphans"]


@contextmanager
def reap_orphans() -> Iterator[None]:
    """While inside, reap processes that were orphaned to this one, if it is the first of all."""
    if os.getpid() != 1:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, _reap)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)


def _reap() -> None:
    for child in psutil.Process().children():
        try:
            if child.status() == psutil.STATUS_ZOMBIE and not is_own(child.pid):
                os.waitpid(child.pid, os.WNOHANG)
        except (OSError, psutil.Error):
            continue
