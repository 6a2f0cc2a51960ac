"""From a stream of events to an :class:`Execution`, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby, repeat
from operator import attrgetter

from opensandbox_jupyter.exceptions import SandboxApiException, SandboxConnectionException
from opensandbox_jupyter.exceptions import SandboxError as Reason
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionComplete,
    ExecutionError,
    ExecutionInit,
    ExecutionLogs,
    ExecutionResult,
    OutputMessage,
)
from opensandbox_jupyter.models.output import MOST_KEPT, KeptOutput, by_line
from opensandbox_jupyter.wire.events import Event, EventDecoder
from opensandbox_jupyter.wire.seams import Seams

__all__ = ["ExecutionReader", "Notice"]

Notice = OutputMessage | ExecutionResult | ExecutionComplete | ExecutionError | ExecutionInit

_BESIDE = 1000
_kind = attrgetter("type")


class ExecutionReader:
    """Feeds on the chunks of an answer and keeps what they say.

    Args:
        keep_output: how many characters of each stream of output are kept in the execution;
            ``None`` for all of them, 0 for none, and then what is left out is not counted.
        keep_results: whether results of code are kept, the latest ``MOST_KEPT`` characters.
        tell_output: whether :meth:`feed` returns output, too.
        in_pieces: whether it does so as output comes, and not line by line.
        has_exit_code: whether the end of the stream tells an exit code (foreground commands).
    """

    def __init__(
        self,
        *,
        keep_output: int | None = None,
        keep_results: bool = True,
        tell_output: bool = True,
        in_pieces: bool = True,
        has_exit_code: bool = True,
    ) -> None:
        self._kept = {
            "stdout": KeptOutput(keep_output),
            "stderr": KeptOutput(keep_output, is_error=True),
        }
        self._seams = {"stdout": Seams(), "stderr": Seams()}
        self.execution = Execution(logs=ExecutionLogs.of(**self._kept))
        self.done = False
        self.is_broken = False
        self._keep = keep_output != 0
        self._room = MOST_KEPT if keep_results else 0
        self._tell_output = tell_output
        self._in_pieces = in_pieces
        self._has_pieces = False
        self._has_exit_code = has_exit_code
        self._decoder = EventDecoder()

    def feed(self, chunk: bytes) -> list[Notice]:
        """Return what ``chunk`` tells, in order.

        Raises:
            SandboxApiException: when the server put an error object into the stream.
            SandboxConnectionException: when a frame is beyond all bounds.
        """
        try:
            events = self._decoder.feed(chunk)
        except ValueError as cause:
            self.is_broken = True
            raise SandboxConnectionException(str(cause), cause=cause) from cause
        return self._notices(events)

    def settle(self) -> None:
        """Count what was left out so far."""
        logs, kept = self.execution.logs, self._kept.values()
        for one in kept:
            one.settle()
        logs.dropped_messages = sum(one.dropped_messages for one in kept)
        logs.dropped_characters = sum(one.dropped_characters for one in kept)

    def close(self) -> list[Notice]:
        """Return what a last frame tells that no line feed ended."""
        return self._notices(self._decoder.close())

    def finish(self) -> Execution:
        """Return the execution, once the stream has ended.

        Raises:
            SandboxConnectionException: when the stream was cut before the end of the command.
        """
        self.close()
        if not self.done:
            raise SandboxConnectionException(
                "The connection to the sandbox broke before the command ended.",
                hint="The sandbox may have been killed or have expired: look at get_info(). "
                "The command's fate is told by get_command_status() as long as it lives.",
            )
        return self.execution

    def _notices(self, events: list[Event]) -> list[Notice]:
        notices: list[Notice] = []
        for kind, run in groupby(events, _kind):
            if kind in ("stdout", "stderr"):
                notices += self._say(kind, list(run))
                continue
            for event in run:
                if (notice := self._take(event)) is not None:
                    notices.append(notice)
                if self.done:  # what comes after the end is not looked at, wherever it was cut
                    return notices
        return notices

    def _say(self, stream: str, events: list[Event]) -> Iterable[OutputMessage]:
        texts = self._seams[stream].join([event.text for event in events])
        times = [event.timestamp for event in events]
        if self._keep:
            self._kept[stream].add(texts, times)
        if not self._tell_output:
            return ()
        if self._has_pieces and not self._in_pieces:
            texts, times = by_line(texts, times)
        return map(OutputMessage, texts, times, repeat(stream == "stderr"))

    def _take(self, event: Event) -> Notice | None:
        kind, execution = event.type, self.execution
        if kind == "init":
            execution.id = event.text or None
            self._has_pieces = event.exact  # our daemon's, which puts many lines into one
            for seams in self._seams.values():
                seams.exact |= event.exact
            return ExecutionInit(event.text, event.timestamp)
        if kind == "execution_count":
            execution.execution_count = event.execution_count
            return None
        if kind == "result":
            result = _result(event)
            self._keep_result(result)
            return result
        if event.is_terminal:
            return self._end(event)
        return None

    def _keep_result(self, result: ExecutionResult) -> None:
        """Keep a result; older ones make room for it."""
        results = self.execution.result
        results.append(result)
        self._room -= _weight(result)
        while self._room < 0 and results:
            self._room += _weight(results.pop(0))
            self.execution.logs.dropped_results += 1

    def _end(self, event: Event) -> Notice:
        self.done = True
        self.settle()
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


def _weight(result: ExecutionResult) -> int:
    """Return about how many characters a result is kept in."""
    values = (result.text or "", *result.extra_properties.values())
    return _BESIDE + sum(len(v if isinstance(v, str) else repr(v)) for v in values)


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
