"""Commands inside a sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opensandbox_jupyter.connection import Connection, checked_id
from opensandbox_jupyter.exceptions import CommandFailed
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionComplete,
    ExecutionError,
    ExecutionHandlers,
    ExecutionInit,
    OutputMessage,
)
from opensandbox_jupyter.wire.base import Origin
from opensandbox_jupyter.wire.execution import ExecutionReader, Notice

if TYPE_CHECKING:
    from opensandbox_jupyter.models.execd import CommandLogs, CommandStatus, RunCommandOpts

__all__ = ["Commands"]

_TAIL_LINES = 5


class Commands:
    """Runs, watches and ends commands. Got from ``sandbox.commands``."""

    def __init__(self, connection: Connection, at: Origin) -> None:
        self._connection = connection
        self._at = at

    async def run(
        self,
        command: str | Sequence[str],
        *,
        opts: RunCommandOpts | None = None,
        handlers: ExecutionHandlers | None = None,
        check: bool = False,
    ) -> Execution:
        """Run a command and return what became of it.

        A foreground command is waited for; its events go to ``handlers`` as they come. When the
        wait is cancelled or interrupted, or a handler fails, the command is ended in the sandbox,
        too. A background command goes on by itself: the result holds its ``id`` only.

        Args:
            command: a text for the shell, or a list of words to run without one.
            opts: directory, environment, user, time limit, background.
            handlers: functions to call with output and other events.
            check: raise when the command fails.

        Returns:
            The execution, with ``stdout`` and ``stderr`` as texts and ``exit_code``: 0 for
            success, ``None`` where it is not known (background, or the command did not start).

        Raises:
            InvalidArgumentException: for an empty command, or options that go against each other.
            SandboxApiException: when execd refuses, for example for a directory that is not there.
            SandboxConnectionException: when the connection breaks before the command ends.
            CommandFailed: with ``check``, when the exit code is not 0.
        """
        from opensandbox_jupyter.models.execd import RunCommandOpts

        opts = opts or RunCommandOpts()
        reader = ExecutionReader(
            keep_output=not (handlers and handlers.skip_accumulation),
            has_exit_code=not opts.background,
        )
        call = self._connection.protocol.run(self._at, command, opts)
        try:
            async with self._connection.transport.stream(call) as chunks:
                async for chunk in chunks:
                    notices = reader.feed(chunk)
                    if handlers is not None:
                        for notice in notices:
                            await self._tell(handlers, notice)
                    if reader.done:
                        break
        except BaseException:
            await self._end(reader, opts)
            raise
        execution = reader.finish()
        if check and not opts.background:
            raise_for_exit(execution)
        return execution

    async def interrupt(self, execution_id: str) -> None:
        """End a running command with all of its processes: politely, then by force.

        Raises:
            SandboxApiException: when no such command runs.
        """
        operation = self._connection.protocol.interrupt(
            self._at, checked_id(execution_id, "execution id")
        )
        await self._connection.transport.run(operation)

    async def get_command_status(self, execution_id: str) -> CommandStatus:
        """Return how a command fares; the exit code is there once it has ended.

        Raises:
            SandboxApiException: when no such command is known (404).
        """
        operation = self._connection.protocol.command_status(
            self._at, checked_id(execution_id, "execution id")
        )
        return await self._connection.transport.run(operation)

    async def get_background_command_logs(
        self, execution_id: str, cursor: int | None = None
    ) -> CommandLogs:
        """Return a background command's output, both streams together.

        Args:
            execution_id: the ``id`` that ``run`` returned.
            cursor: where to go on, in bytes: the last answer's ``cursor``; ``None`` for the start.

        Raises:
            SandboxApiException: when no such background command is known.
        """
        operation = self._connection.protocol.command_logs(
            self._at, checked_id(execution_id, "execution id"), cursor
        )
        return await self._connection.transport.run(operation)

    async def _tell(self, handlers: ExecutionHandlers, notice: Notice) -> None:
        tell = self._connection.transport.tell
        if isinstance(notice, OutputMessage):
            await tell(handlers.on_stderr if notice.is_error else handlers.on_stdout, notice)
        elif isinstance(notice, ExecutionInit):
            await tell(handlers.on_init, notice)
        elif isinstance(notice, ExecutionComplete):
            await tell(handlers.on_execution_complete, notice)
        elif isinstance(notice, ExecutionError):
            await tell(handlers.on_error, notice)
        else:
            await tell(handlers.on_result, notice)

    async def _end(self, reader: ExecutionReader, opts: RunCommandOpts) -> None:
        """End a foreground command that nobody waits for any more."""
        if reader.execution.id and not reader.done and not opts.background:
            operation = self._connection.protocol.interrupt(self._at, reader.execution.id)
            await self._connection.transport.insist(operation)


def raise_for_exit(execution: Execution) -> None:
    """Raise ``CommandFailed`` unless the command ended with exit code 0."""
    if execution.exit_code == 0:
        return
    tail = "\n".join((execution.stderr or execution.stdout).splitlines()[-_TAIL_LINES:])
    if execution.exit_code is None:
        reason = execution.error.value if execution.error else "no exit code came"
        message = f"The command did not run: {reason}"
    else:
        message = f"The command ended with exit code {execution.exit_code}."
    raise CommandFailed(
        message + (f"\n{tail}" if tail else ""), exit_code=execution.exit_code, tail=tail
    )
