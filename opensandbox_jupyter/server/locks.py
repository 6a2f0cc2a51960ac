"""Who a directory belongs to: at most one server at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from opensandbox_jupyter.exceptions import LocalServerException

__all__ = ["lock"]


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold ``path`` for this process alone.

    Raises:
        LocalServerException: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise LocalServerException(
            f"Another server (process {holder}) already uses {path.parent}.",
            cause=error,
            hint="`opensandbox-jupyter status` shows it, `opensandbox-jupyter stop` ends it.",
        ) from error
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)
