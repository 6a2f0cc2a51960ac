"""Commands inside a sandbox."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from opensandbox_jupyter.connection import Connection, checked_id
from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.following import Run
from opensandbox_jupyter.lifeline import Lifeline, OnDisconnect
from opensandbox_jupyter.models.checking import raise_for_exit
from opensandbox_jupyter.models.durations import Duration, duration
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionHandlers,
    Handler,
    OutputMessage,
)
from opensandbox_jupyter.models.merging import merged_handlers, merged_opts
from opensandbox_jupyter.models.output import MOST_KEPT
from opensandbox_jupyter.wire.base import Origin
from opensandbox_jupyter.wire.execution import Notice
from opensandbox_jupyter.wire.variables import remember

if TYPE_CHECKING:
    from opensandbox_jupyter.models.execd import CommandLogs, CommandStatus, RunCommandOpts

__all__ = ["Commands"]


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
        timeout: Duration | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        on_stdout: Handler[OutputMessage] | None = None,
        on_stderr: Handler[OutputMessage] | None = None,
        keep_running: bool = False,
        on_disconnect: OnDisconnect = "leave",
        keep_output: int | None = MOST_KEPT,
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
            keep_running: let it go on when the wait is cancelled or interrupted.
            on_disconnect: what to do when the connection breaks in the middle, beside asking after
                the command: ``leave`` it alone, ``interrupt`` it, or ``reattach`` and go on as if
                nothing had happened. Daemons other than ours cannot give the output again: then
                its end is waited for, and the exception tells its exit code.
            keep_output: how many characters of each stream are kept, ``None`` for all. Of more,
                the beginning and the end are; ``execution.logs`` counts what is left out. An
                output of more than the usual 256 Mi is rather an accident than a result, and
                this memory is the caller's.

        Returns:
            The execution, with ``stdout`` and ``stderr`` as texts and ``exit_code``: 0 for
            success, ``None`` where it is not known (background, or the command did not start).

        Raises:
            InvalidArgumentException: for an empty command, or options that go against each other.
            SandboxApiException: when execd refuses, for example for a directory that is not there.
            SandboxConnectionException: when the sandbox is not reached.
            ExecutionDisconnected: when the connection breaks before the command ends.
            CommandFailed: with ``check``, when the exit code is not 0.
        """
        opts = merged_opts(opts, timeout, env, cwd)
        handlers = merged_handlers(handlers, on_stdout, on_stderr)
        if opts is not None and opts.background:
            call = self._connection.protocol.run(self._at, command, opts)
            return await Run(self._connection, call, has_exit_code=False).follow(handlers)
        run = self._foreground(command, opts, on_disconnect, keep_running=keep_running)
        execution = await run.follow(handlers, keep_output)
        if check:
            raise_for_exit(execution)
        return execution

    async def stream(
        self,
        command: str | Sequence[str],
        *,
        opts: RunCommandOpts | None = None,
        timeout: Duration | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        keep_running: bool = False,
        on_disconnect: OnDisconnect = "leave",
    ) -> AsyncGenerator[Notice, None]:
        """Run a command and give its events as they come; nothing of them is kept.

        The command waits when nobody takes its events. Who leaves the loop early ends it.

        Args:
            command: a text for the shell, or a list of words to run without one.
            opts: directory, environment, user, time limit; not background.
            timeout: seconds, or a timedelta, after which it is killed; also in ``opts``.
            env: variables to add to its environment; also in ``opts``.
            cwd: where it runs; also in ``opts``.
            keep_running: let it go on when the loop is left early.
            on_disconnect: as in :meth:`run`.

        Raises:
            InvalidArgumentException: for an empty command, or options that go against each other.
            SandboxApiException: when execd refuses.
            SandboxConnectionException: when the sandbox is not reached.
            ExecutionDisconnected: when the connection breaks before the command ends.
        """
        opts = merged_opts(opts, timeout, env, cwd)
        if opts is not None and opts.background:
            raise InvalidArgumentException("A background command has no events to stream.")
        run = self._foreground(command, opts, on_disconnect, keep_running=keep_running)
        async with aclosing(run.stream()) as notices:
            async for notice in notices:
                yield notice

    def _foreground(
        self,
        command: str | Sequence[str],
        opts: RunCommandOpts | None,
        on_disconnect: OnDisconnect,
        *,
        keep_running: bool,
    ) -> Run:
        protocol = self._connection.protocol
        lifeline = Lifeline(self._connection, self._at, on_disconnect)
        return Run(
            self._connection,
            lifeline.prepared(protocol.run(self._at, command, opts)),
            stop=None if keep_running else partial(protocol.interrupt, self._at),
            lifeline=lifeline,
        )

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

    async def create_session(self, *, working_directory: str | None = None) -> str:
        """Open a shell that keeps its variables and directory between runs; return its id.

        Args:
            working_directory: where it begins; made when it is not there.

        Raises:
            SandboxApiException: when there are too many sessions.
        """
        operation = self._connection.protocol.create_session(self._at, working_directory)
        return await self._connection.transport.run(operation)

    async def run_in_session(
        self,
        session_id: str,
        command: str,
        *,
        working_directory: str | None = None,
        timeout: Duration | None = None,
        handlers: ExecutionHandlers | None = None,
        check: bool = False,
        on_stdout: Handler[OutputMessage] | None = None,
        on_stderr: Handler[OutputMessage] | None = None,
        keep_running: bool = False,
        keep_output: int | None = MOST_KEPT,
    ) -> Execution:
        """Run a command in a session and return what became of it.

        When the wait is cancelled or interrupted, a handler fails, or the connection breaks, the
        daemon ends the command; the session stays.

        Args:
            session_id: what :meth:`create_session` returned.
            command: a text for the shell.
            working_directory: where to go first.
            timeout: seconds, or a timedelta, after which the command is ended.
            handlers: functions to call with output and other events.
            check: raise when the command fails.
            on_stdout: called with each piece of output; also in ``handlers``.
            on_stderr: the same for error output, where a daemon keeps it apart.
            keep_running: let the command go on when nobody waits any more. Daemons other than
                ours end it all the same.
            keep_output: as in :meth:`run`.

        Raises:
            InvalidArgumentException: for an empty command or a bad timeout.
            SandboxApiException: 404 for an unknown session, 409 when it is busy.
            ExecutionDisconnected: when the connection breaks before the command ends.
            CommandFailed: with ``check``, when the exit code is not 0.
        """
        handlers = merged_handlers(handlers, on_stdout, on_stderr)
        run = self._turn(session_id, command, working_directory, timeout, keep=keep_running)
        execution = await run.follow(handlers, keep_output)
        if check:
            raise_for_exit(execution)
        return execution

    async def stream_in_session(
        self,
        session_id: str,
        command: str,
        *,
        working_directory: str | None = None,
        timeout: Duration | None = None,
        keep_running: bool = False,
    ) -> AsyncGenerator[Notice, None]:
        """Run a command in a session and give its events as they come; nothing of them is kept.

        The command waits when nobody takes its events. Arguments and errors are those of
        :meth:`run_in_session`.
        """
        run = self._turn(session_id, command, working_directory, timeout, keep=keep_running)
        async with aclosing(run.stream()) as notices:
            async for notice in notices:
                yield notice

    def _turn(
        self,
        session_id: str,
        command: str,
        working_directory: str | None,
        timeout: Duration | None,
        *,
        keep: bool,
    ) -> Run:
        protocol = self._connection.protocol
        limit = None if timeout is None else duration(timeout)
        session = checked_id(session_id, "session id")
        call = protocol.run_in_session(self._at, session, command, working_directory, limit)
        return Run(self._connection, protocol.when_left(call, "go-on") if keep else call)

    async def delete_session(self, session_id: str) -> None:
        """End a session and everything that it started.

        Raises:
            SandboxApiException: with status 404 when there is no such session.
        """
        operation = self._connection.protocol.delete_session(
            self._at, checked_id(session_id, "session id")
        )
        await self._connection.transport.run(operation)

    async def set_env(self, key: str, value: str) -> None:
        """Set a variable of all later commands of the sandbox.

        Raises:
            InvalidArgumentException: when ``key`` is no name, or ``value`` holds a NUL.
            CommandFailed: when the sandbox could not keep it.
        """
        await self.run(remember(key, value), check=True)
