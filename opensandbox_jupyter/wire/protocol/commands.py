"""What is asked of a sandbox's daemon about commands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from opensandbox_jupyter import models
from opensandbox_jupyter.wire.base import Call, Operation, Origin
from opensandbox_jupyter.wire.protocol._refusal import Refusal

__all__ = ["CommandCalls"]


class CommandCalls(Refusal):
    """Commands and metrics."""

    def ping(self, sandbox: Origin) -> Operation[None]:
        """Ask whether the daemon answers."""
        self._lacks("health checks")

    def metrics(self, sandbox: Origin) -> Operation[models.SandboxMetrics]:
        """Measure resource use now."""
        self._lacks("metrics")

    def run(
        self, sandbox: Origin, command: str | Sequence[str], opts: models.RunCommandOpts | None
    ) -> Call:
        """Run a command; the answer streams its events."""
        self._lacks("running commands")

    def when_left(self, call: Call, wish: Literal["go-on", "hold"]) -> Call:
        """Return ``call`` with a wish for the time when its client has left; it may be ignored.

        ``go-on`` lets the run go on, ``hold`` keeps its output for a client that comes back.
        """
        self._lacks("runs that outlive their client")

    def reattach(self, sandbox: Origin, execution_id: str, since: int) -> Call:
        """Go on with the stream of a command that is held, behind its first ``since`` bytes."""
        self._lacks("going on with a stream")

    def interrupt(self, sandbox: Origin, execution_id: str) -> Operation[None]:
        """End a running command."""
        self._lacks("interrupting commands")

    def command_status(self, sandbox: Origin, execution_id: str) -> Operation[models.CommandStatus]:
        """Ask how a command fares."""
        self._lacks("command status")

    def command_logs(
        self, sandbox: Origin, execution_id: str, cursor: int | None
    ) -> Operation[models.CommandLogs]:
        """Read a background command's output from a cursor on."""
        self._lacks("background logs")

    def create_session(self, sandbox: Origin, working_directory: str | None) -> Operation[str]:
        """Open a shell that stays, and return its id."""
        self._lacks("sessions")

    def run_in_session(
        self,
        sandbox: Origin,
        session_id: str,
        command: str,
        working_directory: str | None,
        timeout: timedelta | None,
    ) -> Call:
        """Run a command in a session; the answer streams its events."""
        self._lacks("sessions")

    def delete_session(self, sandbox: Origin, session_id: str) -> Operation[None]:
        """End a session."""
        self._lacks("sessions")
