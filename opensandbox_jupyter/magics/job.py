"""A run on its way: what happens on the portal while a cell waits and draws."""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import suppress
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import (
    CommandFailed,
    CommandInterrupted,
    SandboxConnectionException,
    SandboxException,
)
from opensandbox_jupyter.magics.footer import footer, time_of
from opensandbox_jupyter.magics.loss import why_lost
from opensandbox_jupyter.magics.runs import KILLED
from opensandbox_jupyter.models.execd import (
    Execution,
    ExecutionHandlers,
    ExecutionInit,
    OutputMessage,
    RunCommandOpts,
)

if TYPE_CHECKING:
    from opensandbox_jupyter.magics.runs import Run
    from opensandbox_jupyter.magics.view import View
    from opensandbox_jupyter.portal import Portal
    from opensandbox_jupyter.sandbox import Sandbox

__all__ = ["Job"]

_START_BOUND = 2.0
_PAUSE = 0.02
_ENOUGH_LINES = 20


class Job:
    """Runs one command in the foreground.

    Args:
        run: takes note of what happens.
        sandbox: where to run it; used on the portal only.
        opts: how to run it.
        view: shows its output.
        portal: where all waiting is done.
    """

    def __init__(
        self, run: Run, sandbox: Sandbox, opts: RunCommandOpts, view: View, portal: Portal
    ) -> None:
        self.run = run
        self.view = view
        self._sandbox = sandbox
        self._opts = opts
        self._portal = portal
        self._task: asyncio.Task[Execution] | None = None
        self._known = asyncio.Event()
        self._is_gone = False
        self._stopping: concurrent.futures.Future[None] | None = None
        run.stopper(self.stop)
        self.future = portal.submit(self._supervise())

    def stop(self) -> None:
        """End the command in the sandbox. Returns at once; the stream will tell when it is over."""
        if self._stopping is None:
            self.run.interrupted = True
            self._stopping = self._portal.submit(self._stop())

    def give_up(self) -> None:
        """Stop waiting for the end."""
        self._portal.loop.call_soon_threadsafe(self._cancel)

    def conclude(self, *, check: bool, quiet: bool = False) -> None:
        """Take stock of the end and show it; the future is done, or has been given up on.

        Raises:
            CommandInterrupted: when a person ended it.
            CommandFailed: with ``check``, when it did not end with exit code 0.
            SandboxException: when the connection to the sandbox or the sandbox itself was lost.
        """
        run = self.run
        execution, error = self._result()
        if execution is not None:
            run.exit_code = execution.exit_code
            if execution.exit_code is None and execution.error:
                run.error = execution.error.value
        elif error is not None:
            run.error = str(getattr(error, "message", None) or error)
        run.end()
        self.view.finish(footer(run))
        if run.interrupted:
            raise CommandInterrupted(self._farewell(execution))
        if error is not None:
            raise error
        if check and run.exit_code != 0:
            raise self._failure(quiet)

    def _result(self) -> tuple[Execution | None, BaseException | None]:
        if not self.future.done():
            return None, None
        error = self.future.exception()
        return (None, error) if error is not None else (self.future.result(), None)

    def _farewell(self, execution: Execution | None) -> str:
        if execution is not None or self._is_gone:
            return f"run {self.run.id} was stopped; its processes in the sandbox are gone."
        if self.run.execution_id is None:
            return f"run {self.run.id} was stopped before it had started."
        return (
            f"run {self.run.id} was told to stop, but the sandbox did not confirm it; "
            f"it may still be running in {self.run.sandbox_id} (`%sandbox kill` ends it for sure)."
        )

    def _failure(self, quiet: bool) -> CommandFailed:
        run = self.run
        if run.exit_code is None:
            message = (
                f"The command did not run (run {run.id}): {run.error or 'no reason was given'}"
            )
        elif run.exit_code == KILLED:
            message = f"{self._killer()} (run {run.id})."
        else:
            message = f"The command ended with exit code {run.exit_code} (run {run.id})."
        tail = run.tail
        if tail and (quiet or run.lines > _ENOUGH_LINES):
            message += f" Its last lines:\n{tail}"
        return CommandFailed(
            message,
            exit_code=run.exit_code,
            run_id=run.id,
            tail=tail,
            hint=f"`%sandbox show {run.id}` shows its output; --no-raise lets the notebook go on.",
        )

    def _killer(self) -> str:
        limit = self._opts.timeout
        if limit is not None and self.run.seconds >= limit.total_seconds():
            return f"The command was ended by its time limit of {time_of(limit.total_seconds())}"
        return "The command was killed by a signal"

    async def _supervise(self) -> Execution | None:
        handlers = ExecutionHandlers(
            on_init=self._on_init,
            on_stdout=self._on_output,
            on_stderr=self._on_output,
            skip_accumulation=True,
            in_pieces=True,
        )
        self._task = asyncio.ensure_future(
            self._sandbox.commands.run(self.run.command, opts=self._opts, handlers=handlers)
        )
        try:
            return await self._task
        except asyncio.CancelledError:
            return None
        except SandboxConnectionException as error:
            raise await why_lost(self._sandbox, error) from error
        finally:
            self._known.set()

    async def _stop(self) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._known.wait(), _START_BOUND)
        if self.run.execution_id is None:
            self._cancel()
            return
        with suppress(SandboxException):
            await self._sandbox.commands.interrupt(self.run.execution_id)
            self._is_gone = True

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _on_init(self, event: ExecutionInit) -> None:
        self.run.execution_id = event.id
        self._known.set()

    async def _on_output(self, message: OutputMessage) -> None:
        self.run.add(message.text, message.is_error)
        self.view.feed(message.text, message.is_error)
        while self.view.is_full:  # noqa: ASYNC110  # it is emptied by another thread
            await asyncio.sleep(_PAUSE)
