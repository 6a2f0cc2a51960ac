"""Commands inside a sandbox.

Generated from ``commands.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import CommandFailed
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionHandlers,
    Handler,
    OutputMessage,
)
from opensandbox_jupyter.models.merging import merged_handlers, merged_opts
from opensandbox_jupyter.sync.connection import ConnectionSync, checked_id
from opensandbox_jupyter.sync.following import follow
from opensandbox_jupyter.wire.base import Origin
from opensandbox_jupyter.wire.execution import ExecutionReader, Notice
from opensandbox_jupyter.wire.variables import remember

if TYPE_CHECKING:
    from opensandbox_jupyter.models.execd import CommandLogs, CommandStatus, RunCommandOpts

__all__ = ["CommandsSync"]

_TAIL_LINES = 5


class CommandsSync:
    """Runs, watches and ends commands. Got from ``sandbox.commands``."""

    def __init__(self, connection: ConnectionSync, at: Origin) -> None:
        self._connection = connection
        self._at = at

    def run(
        self,
        command: str | Sequence[str],
        *,
        opts: RunCommandOpts | None = None,
        handlers: ExecutionHandlers | None = None,
        check: bool = False,
        timeout: timedelta | float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        on_stdout: Handler[OutputMessage] | None = None,
        on_stderr: Handler[OutputMessage] | None = None,
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
            timeout: seconds, or a timedelta, after which it is killed; also in ``opts``.
            env: variables to add to its environment; also in ``opts``.
            cwd: where it runs; also in ``opts``.
            on_stdout: called with each piece of output; also in ``handlers``.
            on_stderr: the same for error output.

        Returns:
            The execution, with ``stdout`` and ``stderr`` as texts and ``exit_code``: 0 for
            success, ``None`` where it is not known (background, or the command did not start).

        Raises:
            InvalidArgumentException: for an empty command, or options that go against each other.
            SandboxApiException: when execd refuses, for example for a directory that is not there.
            SandboxConnectionException: when the connection breaks before the command ends.
            CommandFailed: with ``check``, when the exit code is not 0.
        """
        opts = merged_opts(opts, timeout, env, cwd)
        handlers = merged_handlers(handlers, on_stdout, on_stderr)
        foreground = opts is None or not opts.background

        def end(execution: Execution) -> None:
            if foreground and execution.id:
                operation = self._connection.protocol.interrupt(self._at, execution.id)
                self._connection.transport.insist(operation)

        call = self._connection.protocol.run(self._at, command, opts)
        execution = follow(self._connection, call, handlers, end, has_exit_code=foreground)
        if check and foreground:
            raise_for_exit(execution)
        return execution

    def stream(
        self,
        command: str | Sequence[str],
        *,
        timeout: timedelta | float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        keep_running: bool = False,
    ) -> Generator[Notice, None]:
        """Run a command and give its events as they come; nothing of them is kept.

        The command waits when nobody takes its events. Who leaves the loop early ends it.

        Args:
            command: a text for the shell, or a list of words to run without one.
            timeout: seconds, or a timedelta, after which it is killed.
            env: variables to add to its environment.
            cwd: where it runs.
            keep_running: let it go on when the loop is left early.

        Raises:
            InvalidArgumentException: for an empty command.
            SandboxApiException: when execd refuses.
            SandboxConnectionException: when the connection breaks before the command ends.
        """
        opts = merged_opts(None, timeout, env, cwd)
        call = self._connection.protocol.run(self._at, command, opts)
        reader = ExecutionReader(keep_output=False)
        try:
            with self._connection.transport.stream(call) as chunks:
                for chunk in chunks:
                    yield from reader.feed(chunk)
                    if reader.done:
                        break
        except BaseException:
            if not keep_running and not reader.done and reader.execution.id:
                operation = self._connection.protocol.interrupt(self._at, reader.execution.id)
                self._connection.transport.insist(operation)
            raise
        reader.finish()

    def interrupt(self, execution_id: str) -> None:
        """End a running command with all of its processes: politely, then by force.

        Raises:
            SandboxApiException: when no such command runs.
        """
        operation = self._connection.protocol.interrupt(
            self._at, checked_id(execution_id, "execution id")
        )
        self._connection.transport.run(operation)

    def get_command_status(self, execution_id: str) -> CommandStatus:
        """Return how a command fares; the exit code is there once it has ended.

        Raises:
            SandboxApiException: when no such command is known (404).
        """
        operation = self._connection.protocol.command_status(
            self._at, checked_id(execution_id, "execution id")
        )
        return self._connection.transport.run(operation)

    def get_background_command_logs(
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
        return self._connection.transport.run(operation)

    def create_session(self, *, working_directory: str | None = None) -> str:
        """Open a shell that keeps its variables and directory between runs; return its id.

        Args:
            working_directory: where it begins; made when it is not there.

        Raises:
            SandboxApiException: when there are too many sessions.
        """
        operation = self._connection.protocol.create_session(self._at, working_directory)
        return self._connection.transport.run(operation)

    def run_in_session(
        self,
        session_id: str,
        command: str,
        *,
        working_directory: str | None = None,
        timeout: timedelta | None = None,
        handlers: ExecutionHandlers | None = None,
        check: bool = False,
    ) -> Execution:
        """Run a command in a session and return what became of it.

        Args:
            session_id: what :meth:`create_session` returned.
            command: a text for the shell.
            working_directory: where to go first.
            timeout: after which the command is ended, and the session stays.
            handlers: functions to call with output and other events.
            check: raise when the command fails.

        Raises:
            InvalidArgumentException: for an empty command or a negative timeout.
            SandboxApiException: 404 for an unknown session, 409 when it is busy.
            CommandFailed: with ``check``, when the exit code is not 0.
        """
        session = checked_id(session_id, "session id")

        def end(_: Execution) -> None:
            """A session interrupts a run whose client has left."""

        call = self._connection.protocol.run_in_session(
            self._at, session, command, working_directory, timeout
        )
        execution = follow(self._connection, call, handlers, end)
        if check:
            raise_for_exit(execution)
        return execution

    def delete_session(self, session_id: str) -> None:
        """End a session and everything that it started.

        Raises:
            SandboxApiException: with status 404 when there is no such session.
        """
        operation = self._connection.protocol.delete_session(
            self._at, checked_id(session_id, "session id")
        )
        self._connection.transport.run(operation)

    def set_env(self, key: str, value: str) -> None:
        """Set a variable of all later commands of the sandbox.

        Raises:
            InvalidArgumentException: when ``key`` is no name, or ``value`` holds a NUL.
            CommandFailed: when the sandbox could not keep it.
        """
        self.run(remember(key, value), check=True)


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
