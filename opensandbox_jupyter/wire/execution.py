"""From a stream of events to an :class:`Execution`, a chunk at a time."""

from __future__ import annotations

from opensandbox_jupyter.exceptions import SandboxApiException, SandboxConnectionException
from opensandbox_jupyter.exceptions import SandboxError as Reason
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionComplete,
    ExecutionError,
    ExecutionInit,
    ExecutionResult,
    OutputMessage,
)
from opensandbox_jupyter.wire.events import Event, EventDecoder
from opensandbox_jupyter.wire.seams import Seams

__all__ = ["ExecutionReader", "Notice"]

Notice = OutputMessage | ExecutionResult | ExecutionComplete | ExecutionError | ExecutionInit


class ExecutionReader:
    """Feeds on the chunks of an answer and keeps what they say.

    Args:
        keep_output: whether output is kept in the execution.
        has_exit_code: whether the end of the stream tells an exit code (foreground commands).
    """

    def __init__(self, *, keep_output: bool = True, has_exit_code: bool = True) -> None:
        self.execution = Execution()
        self.done = False
        self._keep = keep_output
        self._has_exit_code = has_exit_code
        self._decoder = EventDecoder()
        self._exact = False
        self._out, self._err = Seams(), Seams()

    def feed(self, chunk: bytes) -> list[Notice]:
        """Return what ``chunk`` tells, in order.

        Raises:
            SandboxApiException: when the server put an error object into the stream.
            SandboxConnectionException: when a frame is beyond all bounds.
        """
        try:
            events = self._decoder.feed(chunk)
        except ValueError as cause:
            raise SandboxConnectionException(str(cause), cause=cause) from cause
        return self._notices(events)

    def finish(self) -> Execution:
        """Return the execution, once the stream has ended.

        Raises:
            SandboxConnectionException: when the stream was cut before the end of the command.
        """
        self._notices(self._decoder.close())
        if not self.done:
            raise SandboxConnectionException(
                "The connection to the sandbox broke before the command ended.",
                hint="The sandbox may have been killed or have expired: look at get_info(). "
                "The command's fate is told by get_command_status() as long as it lives.",
            )
        return self.execution

    def _notices(self, events: list[Event]) -> list[Notice]:
        notices: list[Notice] = []
        tell, logs, keep = notices.append, self.execution.logs, self._keep
        for event in events:
            kind = event.type
            if kind == "stdout":
                text = event.text if self._exact else self._out.join(event.text)
                message = OutputMessage(text, event.timestamp)
                if keep:
                    logs.stdout.append(message)
                tell(message)
            elif kind == "stderr":
                text = event.text if self._exact else self._err.join(event.text)
                message = OutputMessage(text, event.timestamp, True)
                if keep:
                    logs.stderr.append(message)
                tell(message)
            elif (notice := self._take(event)) is not None:
                tell(notice)
        return notices

    def _take(self, event: Event) -> Notice | None:
        kind, execution = event.type, self.execution
        if kind == "init":
            execution.id = event.text or None
            self._exact = event.exact
            return ExecutionInit(event.text, event.timestamp)
        if kind == "execution_count":
            execution.execution_count = event.execution_count
            return None
        if kind == "result":
            result = _result(event)
            execution.result.append(result)
            return result
        if event.is_terminal:
            return self._end(event)
        return None

    def _end(self, event: Event) -> Notice:
        self.done = True
        execution = self.execution
        if not event.type:
            raise SandboxApiException(
                f"The sandbox could not go on: {event.message or event.code}",
                error=Reason(event.code, event.message),
                operation="run_command",
            )
        if event.type == "error":
            execution.error = _error(event)
            if self._has_exit_code:
                execution.exit_code = _number(execution.error.value)
            return execution.error
        execution.complete = ExecutionComplete(event.timestamp, event.execution_time)
        if self._has_exit_code and execution.error is None:
            execution.exit_code = 0
        return execution.complete


def _result(event: Event) -> ExecutionResult:
    data = dict(event.results or {})
    text = data.pop("text", data.pop("text/plain", None))
    return ExecutionResult(None if text is None else str(text), event.timestamp, data)


def _error(event: Event) -> ExecutionError:
    data = event.error or {}
    traceback = data.get("traceback")
    return ExecutionError(
        name=str(data.get("ename", "")),
        value=str(data.get("evalue", "")),
        timestamp=event.timestamp,
        traceback=[str(line) for line in traceback] if isinstance(traceback, list) else [],
    )


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
