"""What is asked of a sandbox's daemon about the servers that run beside it."""

from __future__ import annotations

from opensandbox_jupyter.exceptions import SandboxApiException
from opensandbox_jupyter.wire.base import Call, Origin
from opensandbox_jupyter.wire.protocol._refusal import Refusal

__all__ = ["PortCalls"]


class PortCalls(Refusal):
    """Ports of the sandbox."""

    def knock(self, sandbox: Origin, port: int, patience: float) -> Call:
        """Ask the server on a port for anything, and wait so many seconds for an answer."""
        self._lacks("ports")

    def nobody_answered(self, error: SandboxApiException) -> bool:
        """Return whether an answer to :meth:`knock` is the daemon's own: nothing listens."""
        self._lacks("ports")
