"""Streams of events, followed to their end: handlers are told, and what was said is kept.

Generated from ``following.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from opensandbox_jupyter.exceptions import (
    ExecutionDisconnected,
    InvalidArgumentException,
    SandboxApiException,
    SandboxConnectionException,
    SandboxException,
    SandboxTimeoutException,
)
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionComplete,
    ExecutionError,
    ExecutionHandlers,
    ExecutionInit,
    Handler,
    OutputMessage,
)
from opensandbox_jupyter.models.output import MOST_KEPT
from opensandbox_jupyter.sync.connection import ConnectionSync
from opensandbox_jupyter.sync.lifeline import Lifeline
from opensandbox_jupyter.wire.base import Call, Operation
from opensandbox_jupyter.wire.execution import ExecutionReader, Notice

__all__ = ["Run"]

_CUT = (SandboxConnectionException, SandboxTimeoutException)


class Run:
    """One execution, from its call to its end. It is followed, or streamed, once.

    Args:
        connection: what carries it.
        call: a call whose answer is a stream of events.
        stop: what ends the execution of an id when nobody waits for it any more; ``None`` when
            it shall go on, or the daemon sees to it.
        lifeline: what to do when the connection breaks in the middle, apart from saying so.
        has_exit_code: whether the end tells an exit code.
    """

    def __init__(
        self,
        connection: ConnectionSync,
        call: Call,
        *,
        stop: Callable[[str], Operation[Any]] | None = None,
        lifeline: Lifeline | None = None,
        has_exit_code: bool = True,
    ) -> None:
        self._connection = connection
        self._call = call
        self._stop = stop
        self._lifeline = lifeline
        self._has_exit_code = has_exit_code

    def follow(
        self, handlers: ExecutionHandlers | None, keep_output: int | None = MOST_KEPT
    ) -> Execution:
        """Tell ``handlers`` of its events, and return what became of it.

        Raises:
            InvalidArgumentException: when ``keep_output`` is no number of characters.
            SandboxApiException: when execd refuses.
            ExecutionDisconnected: when the connection broke in the middle.
        """
        if keep_output is not None and not (type(keep_output) is int and keep_output >= 0):
            raise InvalidArgumentException(
                f"keep_output must be a number of characters, or None, not {keep_output!r}."
            )
        if handlers is not None and handlers.skip_accumulation:
            keep_output = 0
        listens = handlers is not None and bool(handlers.on_stdout or handlers.on_stderr)
        reader = ExecutionReader(
            keep_output=keep_output,
            tell_output=listens,
            in_pieces=handlers is None or handlers.in_pieces,
            has_exit_code=self._has_exit_code,
        )
        tell = self._connection.transport.tell
        with closing(self._batches(reader)) as batches:
            for notices in batches:
                if handlers is not None:
                    for notice in notices:
                        handler = _handler_of(notice, handlers)
                        if handler is not None:
                            tell(handler, notice)
        return reader.execution

    def stream(self) -> Generator[Notice, None]:
        """Give its events as they come; no output is kept, and none is read before it is taken.

        Raises:
            SandboxApiException: when execd refuses.
            ExecutionDisconnected: when the connection broke in the middle.
        """
        reader = ExecutionReader(
            keep_output=0, keep_results=False, has_exit_code=self._has_exit_code
        )
        with closing(self._batches(reader)) as batches:
            for notices in batches:
                yield from notices

    def _batches(self, reader: ExecutionReader) -> Generator[list[Notice], None]:
        """Give events chunk by chunk; who leaves early ends the execution."""
        call, received = self._call, 0
        try:
            while not reader.done:
                try:
                    with self._connection.transport.stream(call) as chunks:
                        for chunk in chunks:
                            received += len(chunk)
                            yield reader.feed(chunk)
                            if reader.done:
                                break
                    if not reader.done:
                        yield reader.close()
                    reader.finish()
                except (*_CUT, SandboxApiException) as failure:
                    was_refused = isinstance(failure, SandboxApiException) and call is self._call
                    if was_refused or not received or reader.is_broken or reader.done:
                        raise
                    reader.settle()
                    call = self._recover(reader.execution, received, failure)
        except ExecutionDisconnected:
            raise
        except BaseException:
            if self._stop is not None and reader.execution.id and not reader.done:
                self._connection.transport.insist(self._stop(reader.execution.id))
            raise

    def _recover(self, execution: Execution, received: int, failure: SandboxException) -> Call:
        """Return the call that goes on, or say that the connection broke."""
        if self._lifeline is None:
            raise ExecutionDisconnected(
                "The connection to the sandbox broke before the run ended.",
                execution=execution,
                cause=failure,
                hint="The sandbox may have been killed or have expired: look at get_info(). If it "
                "lives, the run goes on or was ended by the daemon, as its kind is.",
            )
        return self._lifeline.recover(execution, received, failure)


def _handler_of(notice: Notice, handlers: ExecutionHandlers) -> Handler[Any] | None:
    if isinstance(notice, OutputMessage):
        return handlers.on_stderr if notice.is_error else handlers.on_stdout
    if isinstance(notice, ExecutionInit):
        return handlers.on_init
    if isinstance(notice, ExecutionComplete):
        return handlers.on_execution_complete
    if isinstance(notice, ExecutionError):
        return handlers.on_error
    return handlers.on_result
