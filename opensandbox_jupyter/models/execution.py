"""What a command tells while it runs, and what it leaves behind.

Plain dataclasses, because a command may print millions of them. Names are those of OpenSandbox's
own SDK; :mod:`opensandbox_jupyter.models.execd` has them, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from opensandbox_jupyter.models.drawing import drawn
from opensandbox_jupyter.models.dumping import Dumped
from opensandbox_jupyter.models.output import KeptOutput, OutputMessage

__all__ = [
    "Execution",
    "ExecutionComplete",
    "ExecutionError",
    "ExecutionHandlers",
    "ExecutionInit",
    "ExecutionLogs",
    "ExecutionResult",
    "OutputMessage",
]

_Event = TypeVar("_Event")
Handler = Callable[[_Event], Awaitable[None] | None]


@dataclass(slots=True)
class ExecutionResult(Dumped):
    """A rich result of code: its plain text, and every other MIME type in ``extra_properties``.

    In a notebook it shows its plain text and its pictures. Whatever else came from a sandbox, such
    as HTML, is there to be read, and is not drawn.
    """

    text: str | None = None
    timestamp: int = 0
    extra_properties: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """All of it by MIME type, ``text/plain`` included: pictures as base64, JSON as it is."""
        plain = {} if self.text is None else {"text/plain": self.text}
        return plain | self.extra_properties

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return drawn(self.text or "", [self.extra_properties])


@dataclass(slots=True)
class ExecutionError(Dumped):
    """How an execution failed. For a command, ``value`` is the exit code as text."""

    name: str
    value: str
    timestamp: int = 0
    traceback: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ExecutionComplete(Dumped):
    """An execution succeeded; ``execution_time_in_millis`` is measured by the daemon."""

    timestamp: int = 0
    execution_time_in_millis: int = 0


@dataclass(slots=True)
class ExecutionInit(Dumped):
    """An execution began; ``id`` names it in ``interrupt`` and ``get_command_status``."""

    id: str
    timestamp: int = 0


class _Lazy:
    """What :class:`ExecutionLogs` makes its lists of, when they are first asked for."""

    __slots__ = ("_kept",)
    _kept: dict[str, KeptOutput]

    def _begin(self, kept: dict[str, KeptOutput]) -> None:
        self._kept = kept

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> list[OutputMessage]:
            if name not in ("stdout", "stderr"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            messages = self._kept.pop(name).messages()
            setattr(self, name, messages)
            return messages


@dataclass(slots=True)
class ExecutionLogs(_Lazy, Dumped):
    """All output of an execution, piece by piece, in the order in which it came.

    The pieces of a run are kept as text and become lists when they are first looked at. Of more
    than ``keep_output`` allows, the beginning and the end are kept, with a line of ours between
    them; ``dropped_messages`` (pieces) and ``dropped_characters`` count what is left out of
    both streams, and ``dropped_results`` the results of code for which there was no room.
    """

    stdout: list[OutputMessage] = field(default_factory=list)
    stderr: list[OutputMessage] = field(default_factory=list)
    dropped_messages: int = 0
    dropped_characters: int = 0
    dropped_results: int = 0

    @classmethod
    def of(cls, stdout: KeptOutput, stderr: KeptOutput) -> ExecutionLogs:
        """Return the logs of what is kept, or still to come."""
        logs = cls.__new__(cls)
        logs._begin({"stdout": stdout, "stderr": stderr})
        logs.dropped_messages = logs.dropped_characters = logs.dropped_results = 0
        return logs

    def add_stdout(self, message: OutputMessage) -> None:
        """Add a piece of standard output."""
        self.stdout.append(message)

    def add_stderr(self, message: OutputMessage) -> None:
        """Add a piece of error output."""
        self.stderr.append(message)

    def text_of(self, stream: Literal["stdout", "stderr"]) -> str:
        """Return all output of a stream as one text."""
        try:
            messages = object.__getattribute__(self, stream)
        except AttributeError:
            return self._kept[stream].text()
        return "".join(message.text for message in messages)


@dataclass(slots=True)
class Execution(Dumped):
    """What became of a command or of a piece of code.

    ``exit_code`` is 0 after success, the command's own code after failure, and ``None`` when it
    is not known: a background command, a code run, a command that never started.
    """

    id: str | None = None
    execution_count: int | None = None
    result: list[ExecutionResult] = field(default_factory=list)
    error: ExecutionError | None = None
    complete: ExecutionComplete | None = None
    exit_code: int | None = None
    logs: ExecutionLogs = field(default_factory=ExecutionLogs)

    def add_result(self, result: ExecutionResult) -> None:
        """Add a result."""
        self.result.append(result)

    @property
    def stdout(self) -> str:
        """All standard output as one text, line ends as they were sent."""
        return self.logs.text_of("stdout")

    @property
    def stderr(self) -> str:
        """All error output as one text, line ends as they were sent."""
        return self.logs.text_of("stderr")

    @property
    def text(self) -> str:
        """Standard output without its last line end, then the results, a line each."""
        body = self.stdout.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
        return "\n".join([body] * bool(body) + [r.text for r in self.result if r.text])

    def __str__(self) -> str:
        """Return what a person would like to see: output, error output, and how it failed."""
        parts = [self.text] * bool(self.stdout or self.result)
        if self.stderr:
            lines = self.stderr.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
            parts.append(f"[stderr]\n{lines}")
        if self.error:
            parts.append(f"[error] {self.error.name}: {self.error.value}")
        return "\n".join(parts)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        ended = f"{self.error.name}: {self.error.value}" if self.error else ""
        texts = [self.text, self.stderr.rstrip("\n"), ended]
        shown = "\n".join(text for text in texts if text)
        return drawn(shown, [result.extra_properties for result in self.result])


@dataclass(slots=True)
class ExecutionHandlers:
    """What to call as events come. Each may be a plain or an async function.

    An error inside a handler ends the command and is raised from ``run``.
    ``skip_accumulation`` keeps output out of the returned ``Execution`` (memory stays flat).
    Output comes line by line, the start of a line alone when its end is long in coming; with
    ``in_pieces`` as it was sent, by the embedded server up to 64 Ki characters of many lines.
    """

    on_stdout: Handler[OutputMessage] | None = None
    on_stderr: Handler[OutputMessage] | None = None
    on_result: Handler[ExecutionResult] | None = None
    on_execution_complete: Handler[ExecutionComplete] | None = None
    on_error: Handler[ExecutionError] | None = None
    on_init: Handler[ExecutionInit] | None = None
    skip_accumulation: bool = False
    in_pieces: bool = False
