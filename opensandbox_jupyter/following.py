"""Streams of events, followed to their end: handlers are told, and what was said is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from opensandbox_jupyter.connection import Connection
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionComplete,
    ExecutionError,
    ExecutionHandlers,
    ExecutionInit,
    OutputMessage,
)
from opensandbox_jupyter.wire.base import Call
from opensandbox_jupyter.wire.execution import ExecutionReader, Notice

__all__ = ["follow"]


async def follow(
    connection: Connection,
    call: Call,
    handlers: ExecutionHandlers | None,
    end: Callable[[Execution], Awaitable[None]],
    *,
    has_exit_code: bool = True,
) -> Execution:
    """Send ``call``, tell ``handlers`` of its events, and return what became of it.

    Args:
        connection: what carries it.
        call: a call whose answer is a stream of events.
        handlers: what to call with each event.
        end: called with what is known so far when nobody waits for the end any more.
        has_exit_code: whether the end tells an exit code.

    Raises:
        SandboxApiException: when execd refuses.
        SandboxConnectionException: when the connection breaks before the end.
    """
    keep = not (handlers and handlers.skip_accumulation)
    tell = handlers is not None and bool(handlers.on_stdout or handlers.on_stderr)
    reader = ExecutionReader(keep_output=keep, tell_output=tell, has_exit_code=has_exit_code)
    try:
        async with connection.transport.stream(call) as chunks:
            async for chunk in chunks:
                notices = reader.feed(chunk)
                if handlers is not None:
                    for notice in notices:
                        await _tell(connection, handlers, notice)
                if reader.done:
                    break
    except BaseException:
        if not reader.done:
            await end(reader.execution)
        raise
    return reader.finish()


async def _tell(connection: Connection, handlers: ExecutionHandlers, notice: Notice) -> None:
    tell = connection.transport.tell
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
