"""Code inside a sandbox, run in contexts that remember."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from opensandbox_jupyter.connection import Connection, checked_id
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.following import Run
from opensandbox_jupyter.models.checking import raise_for_error
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionHandlers,
    Handler,
    OutputMessage,
)
from opensandbox_jupyter.models.merging import merged_handlers
from opensandbox_jupyter.models.output import MOST_KEPT
from opensandbox_jupyter.wire.base import Origin
from opensandbox_jupyter.wire.execution import Notice

if TYPE_CHECKING:
    from opensandbox_jupyter.models.code import CodeContext

__all__ = ["Codes"]

_USUAL = "python"


class Codes:
    """Runs code and keeps contexts. Got from ``interpreter.codes``."""

    def __init__(self, connection: Connection, at: Origin) -> None:
        self._connection = connection
        self._at = at

    async def run(
        self,
        code: str,
        *,
        language: str | None = None,
        context: CodeContext | None = None,
        handlers: ExecutionHandlers | None = None,
        check: bool = False,
        on_stdout: Handler[OutputMessage] | None = None,
        on_stderr: Handler[OutputMessage] | None = None,
        keep_running: bool = False,
        keep_output: int | None = MOST_KEPT,
    ) -> Execution:
        """Run code and return what became of it.

        When the wait is cancelled or interrupted, or a handler fails, the code is interrupted in
        the sandbox, too.

        Args:
            code: what to run.
            language: its language, Python without one; it runs in the usual context.
            context: the context to run in, instead.
            handlers: functions to call with output, results and other events.
            check: raise when the code does.
            on_stdout: called with each piece of output; also in ``handlers``.
            on_stderr: the same for error output.
            keep_running: let the code go on when nobody waits any more.
            keep_output: how many characters of each stream are kept; see ``Commands.run``. Of
                results, the latest 256 Mi characters are.

        Returns:
            The execution. Each of its ``result`` has the plain ``text``, and every MIME type in
            ``data``; what code shows on its way is there like its last value.

        Raises:
            InvalidArgumentException: for empty code, or a language that is not the context's.
            SandboxApiException: 404 for an unknown context, 409 when it is busy.
            ExecutionDisconnected: when the connection breaks before the code ends. The code goes
                on (bash ends); :meth:`interrupt` with the ``execution_id`` ends it.
            CommandFailed: with ``check``, when the code raised something.
        """
        handlers = merged_handlers(handlers, on_stdout, on_stderr)
        run = self._begin(code, language, context, keep_running=keep_running)
        execution = await run.follow(handlers, keep_output)
        if check:
            raise_for_error(execution)
        return execution

    async def stream(
        self,
        code: str,
        *,
        language: str | None = None,
        context: CodeContext | None = None,
        keep_running: bool = False,
    ) -> AsyncGenerator[Notice, None]:
        """Run code and give its events as they come; no output is kept.

        The code waits when nobody takes its events, and who leaves the loop early interrupts it.
        Arguments and errors are those of :meth:`run`.
        """
        run = self._begin(code, language, context, keep_running=keep_running)
        async with aclosing(run.stream()) as notices:
            async for notice in notices:
                yield notice

    def _begin(
        self, code: str, language: str | None, context: CodeContext | None, *, keep_running: bool
    ) -> Run:
        from opensandbox_jupyter.models.code import CodeContext

        if not code.strip():
            raise InvalidArgumentException("The code is empty.")
        if context is None:
            context = CodeContext(language=language or _USUAL)
        elif language not in (None, context.language):
            raise InvalidArgumentException(
                f"The context is one of {context.language}, and the language is {language}."
            )
        protocol = self._connection.protocol
        call = protocol.run_code(self._at, code, context)
        return Run(
            self._connection,
            protocol.when_left(call, "go-on") if keep_running else call,
            stop=None if keep_running else partial(protocol.interrupt_code, self._at),
            has_exit_code=False,
        )

    async def create_context(self, language: str) -> CodeContext:
        """Make a context of its own.

        Raises:
            SandboxApiException: when the sandbox does not run ``language``.
        """
        operation = self._connection.protocol.create_context(self._at, language)
        return await self._connection.transport.run(operation)

    async def get_context(self, context_id: str) -> CodeContext:
        """Return a context; 404 when there is none of that id."""
        context = checked_id(context_id, "context id")
        operation = self._connection.protocol.get_context(self._at, context)
        return await self._connection.transport.run(operation)

    async def list_contexts(self, language: str) -> list[CodeContext]:
        """Return all contexts of a language."""
        operation = self._connection.protocol.list_contexts(self._at, language)
        return await self._connection.transport.run(operation)

    async def delete_context(self, context_id: str) -> None:
        """End a context and everything that it started; 404 when there is none."""
        context = checked_id(context_id, "context id")
        operation = self._connection.protocol.delete_context(self._at, context)
        await self._connection.transport.run(operation)

    async def delete_contexts(self, language: str) -> None:
        """End all contexts of a language."""
        operation = self._connection.protocol.delete_contexts(self._at, language)
        await self._connection.transport.run(operation)

    async def interrupt(self, execution_id: str) -> None:
        """Interrupt what runs; the id is the context's, and that of an execution in it.

        Raises:
            SandboxApiException: when nothing runs there.
        """
        execution = checked_id(execution_id, "execution id")
        operation = self._connection.protocol.interrupt_code(self._at, execution)
        await self._connection.transport.run(operation)

    async def ping(self) -> bool:
        """Return whether the daemon answers."""
        try:
            await self._connection.transport.run(self._connection.protocol.ping(self._at))
        except SandboxException:
            return False
        return True
