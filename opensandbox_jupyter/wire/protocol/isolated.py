"""What is asked of a sandbox's daemon about isolated sessions."""

from __future__ import annotations

from opensandbox_jupyter import models
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.protocol._refusal import Refusal

__all__ = ["IsolatedCalls"]


class IsolatedCalls(Refusal):
    """Walls inside a sandbox. ``session`` is a session's own origin."""

    def isolated_origin(self, sandbox: Origin, session_id: str) -> Origin:
        """Return where a session, and its files, are asked for."""
        self._lacks("isolated sessions")

    def create_isolated(
        self, sandbox: Origin, wanted: models.CreateIsolatedSessionRequest
    ) -> Operation[models.IsolatedSessionInfo]:
        """Open a session."""
        self._lacks("isolated sessions")

    def list_isolated(self, sandbox: Origin) -> Operation[list[models.IsolatedSessionSummary]]:
        """List sessions."""
        self._lacks("isolated sessions")

    def isolated_capabilities(self, sandbox: Origin) -> Operation[models.IsolatedCapabilities]:
        """Ask what can be had here."""
        self._lacks("isolated sessions")

    def get_isolated(self, session: Origin) -> Operation[models.IsolatedSessionState]:
        """Look at a session."""
        self._lacks("isolated sessions")

    def delete_isolated(self, session: Origin) -> Operation[None]:
        """End a session."""
        self._lacks("isolated sessions")

    def run_isolated(self, session: Origin, code: str, opts: models.IsolatedRunOpts) -> Call:
        """Run code in a session; the answer streams its events."""
        self._lacks("isolated sessions")

    def run_isolated_background(
        self, session: Origin, code: str, opts: models.IsolatedRunOpts
    ) -> Operation[models.IsolatedBackgroundRun]:
        """Run code in a session that goes on by itself."""
        self._lacks("isolated sessions")

    def isolated_run_status(
        self, session: Origin, run_id: str
    ) -> Operation[models.IsolatedRunStatus]:
        """Ask how such a run fares."""
        self._lacks("isolated sessions")

    def isolated_run_logs(
        self, session: Origin, run_id: str, cursor: int
    ) -> Operation[models.IsolatedRunLogs]:
        """Read what such a run has written."""
        self._lacks("isolated sessions")
