"""Resource use of a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensandbox_jupyter.connection import Connection
from opensandbox_jupyter.wire.base import Origin

if TYPE_CHECKING:
    from opensandbox_jupyter.models.sandboxes import SandboxMetrics

__all__ = ["Metrics"]


class Metrics:
    """Measures a sandbox. Got from ``sandbox.metrics``."""

    def __init__(self, connection: Connection, at: Origin) -> None:
        self._connection = connection
        self._at = at

    async def get_metrics(self, sandbox_id: str | None = None) -> SandboxMetrics:
        """Return CPU (cores, percent) and memory (MiB) in use now.

        Args:
            sandbox_id: for callers of the vendor's SDK; it is always this sandbox that answers.

        Raises:
            SandboxException: when the sandbox does not answer.
        """
        operation = self._connection.protocol.metrics(self._at)
        return await self._connection.transport.run(operation)
