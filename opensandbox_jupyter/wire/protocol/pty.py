"""What is asked of a sandbox's daemon about terminals, and what is said in a WebSocket to one."""

from __future__ import annotations

from opensandbox_jupyter.models.pty import PtyEvent, PtyStatus
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.protocol._refusal import Refusal

__all__ = ["PtyCalls"]


class PtyCalls(Refusal):
    """Terminals."""

    def pty_create(self, sandbox: Origin, cwd: str | None, command: str | None) -> Operation[str]:
        """Make a terminal and return its id; its program starts when it is first looked at."""
        self._lacks("terminals")

    def pty_status(self, sandbox: Origin, session_id: str) -> Operation[PtyStatus]:
        """Ask after a terminal."""
        self._lacks("terminals")

    def pty_delete(self, sandbox: Origin, session_id: str) -> Operation[None]:
        """End a terminal."""
        self._lacks("terminals")

    def pty_attach(
        self, sandbox: Origin, session_id: str, *, since: int, takeover: bool, pipes: bool
    ) -> Call:
        """Open a WebSocket to a terminal."""
        self._lacks("terminals")

    def pty_event(self, frame: str | bytes) -> PtyEvent | None:
        """Read a frame; ``None`` for one that says nothing to a caller."""
        self._lacks("terminals")

    def pty_input(self, data: bytes) -> bytes:
        """Return the frame of what is typed."""
        self._lacks("terminals")

    def pty_resize(self, cols: int, rows: int) -> str:
        """Return the frame of a new size."""
        self._lacks("terminals")

    def pty_signal(self, signal: str) -> str:
        """Return the frame of a signal."""
        self._lacks("terminals")
