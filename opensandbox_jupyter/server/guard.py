"""Ends what a server began to start when the server itself dies in the middle.

Bubblewrap dies with its parent, but only once it has asked the kernel for that. A server that is
killed a moment earlier would leave a half-made sandbox behind, for ever. So each start happens in
a process group of its own, led by a small shell that ends the group when the server's end of a
pipe goes away.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import Any

__all__ = ["StartGuard"]

_SCRIPT = "read -r held || kill -KILL 0"


class StartGuard:
    """Watches over one start. Made before the first process, dismissed when the last one holds."""

    def __init__(self) -> None:
        self._watched, self._held = os.pipe()
        try:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT],
                stdin=self._watched,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                **_in_group(0),
            )
        except OSError:
            os.close(self._held)
            raise
        finally:
            os.close(self._watched)

    def membership(self) -> dict[str, Any]:
        """Return the arguments of ``Popen`` that put a process under this guard."""
        return _in_group(self._shell.pid)

    def dismiss(self) -> None:
        """Let the processes go on without a guard."""
        os.write(self._held, b"\n")

    def close(self) -> None:
        """End the guard; if it was not dismissed, it takes its group with it."""
        os.close(self._held)
        self._shell.wait()


def _in_group(leader: int) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        return {"process_group": leader}
    return {"preexec_fn": partial(os.setpgid, 0, leader)}
