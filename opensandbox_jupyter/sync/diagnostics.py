"""What the server tells of sandboxes that went wrong.

Generated from ``diagnostics.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensandbox_jupyter.sync.connection import ConnectionSync, checked_id

if TYPE_CHECKING:
    from opensandbox_jupyter.models.diagnostics import DiagnosticContent

__all__ = ["DiagnosticsSync"]


class DiagnosticsSync:
    """Logs and events of sandboxes. Specified by the OpenSandbox diagnostics API.

    Every method raises ``SandboxApiException``: 404 for an unknown sandbox, 400 for a scope that
    the server does not have.
    """

    def __init__(self, connection: ConnectionSync) -> None:
        self._connection = connection

    def get_logs(self, sandbox_id: str, scope: str) -> DiagnosticContent:
        """Return the end of what a sandbox wrote; ``scope`` is ``container`` or ``all``."""
        return self._get(sandbox_id, "logs", scope)

    def get_events(self, sandbox_id: str, scope: str) -> DiagnosticContent:
        """Return what happened to a sandbox; ``scope`` is ``runtime`` or ``all``."""
        return self._get(sandbox_id, "events", scope)

    def _get(self, sandbox_id: str, kind: str, scope: str) -> DiagnosticContent:
        connection = self._connection
        wanted = checked_id(sandbox_id), kind, checked_id(scope, "scope")
        return connection.transport.run(connection.protocol.diagnostics(connection.server, *wanted))
