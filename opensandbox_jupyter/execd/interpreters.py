"""A Python that stays from run to run; see :mod:`runner` for the program that it is.

All that it says is the sandbox's word: it is bounded, and anything else than what was agreed ends
the process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from opensandbox_jupyter.execd import events
from opensandbox_jupyter.execd.processes import describe
from opensandbox_jupyter.execd.resident import Resident
from opensandbox_jupyter.execd.streams import CommandStream, Output
from opensandbox_jupyter.execd.turns import Turn

__all__ = ["CodeStream", "CodeTurn", "Interpreter"]

_NOTEBOOK = ".notebook"
"""The directory beside ours with the packages that IPython needs."""
_MOST = 64 << 20
"""The most bytes of one answer, an image of a figure for example."""
_MOST_LINES = 2000


class _Failure(msgspec.Struct):
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = []


class _Answer(msgspec.Struct):
    type: str
    count: int = 0
    data: dict[str, object] = {}
    error: _Failure | None = None
    over: bool = False


_decoder = msgspec.json.Decoder(_Answer)


class CodeTurn(Turn):
    """One run of code. A client that leaves does not end it, as with a command."""

    failure: _Failure | None = None
    """What was raised."""
    output: Output | None = None
    """Where events between blocks of text go."""

    def discard(self) -> None:
        """Nobody looks any more; the run goes on."""
        self.output = None
        self.feeds = {}
        self.on_change = lambda: None
        self.resume()


class Interpreter(Resident):
    """The Python of one context."""

    turn: CodeTurn | None

    def _command(self, ask: int, answer: int, env: Mapping[str, str]) -> Sequence[str]:
        python = shutil.which("python3", path=env.get("PATH", os.defpath))
        if python is None:
            raise FileNotFoundError("Code contexts need python3, which this sandbox does not have.")
        here = Path(__file__)  # asked for now: a copy of the zygote has moved since it was loaded
        runner, library = here.with_name("runner.py"), here.parents[2] / _NOTEBOOK
        return [python, str(runner), str(ask), str(answer), str(library)]

    def run(self, code: str) -> CodeTurn:
        """Start a run; the interpreter must be free and alive."""
        turn = CodeTurn(self)
        self._begin(turn, msgspec.json.encode({"code": code}) + b"\n")
        return turn

    def _answered(self, data: bytes) -> None:
        *lines, self._answers = (self._answers + data).split(b"\n")
        try:
            if len(self._answers) > _MOST:
                raise msgspec.ValidationError("An answer is too long.")
            for line in lines:
                self._take(_decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._answers = b""
            self.process.kill()

    def _exited(self, returncode: int) -> None:
        """An end in the middle of a run is a failure, whatever the code says."""
        self._on_end()
        if self.turn is None or self.turn.exit_code is not None:
            super()._exited(returncode)
        else:
            self._finish(1, describe(returncode)[1])

    def _take(self, answer: _Answer) -> None:
        turn = self.turn
        if turn is None:
            return
        if answer.type == "done":
            turn.failure = answer.error
            if answer.over:
                self._on_end()
            self._finish(1 if answer.error else 0, None)
            return
        for pipe in self._pipes.values():
            pipe.read_waiting()
        if answer.type == "result":
            self._tell(turn, events.result(_renamed(answer.data)))
            self._input += b"{}\n"
            self._send_input()
        elif answer.type == "count":
            self._tell(turn, events.counted(answer.count))

    @staticmethod
    def _tell(turn: CodeTurn, event: bytes) -> None:
        if turn.output is not None:
            turn.output.feed_event(event)


class CodeStream(CommandStream):
    """The answer to a run of code."""

    def __init__(self, turn: CodeTurn, output: Output, *, lines: bool) -> None:
        super().__init__(turn, output, lines=lines)
        self._turn = turn
        turn.output = output

    def _last(self) -> bytes:
        turn = self._turn
        if turn.failure is not None:
            said = [line[:_MOST_LINES] for line in turn.failure.traceback[:_MOST_LINES]]
            return events.failed(turn.failure.evalue, said, turn.failure.ename or "Error")
        if turn.exit_code:
            message = f"The interpreter ended ({turn.error}): what it had in memory is lost."
            return events.failed(message, [message], "InterpreterDied")
        return events.complete(turn.milliseconds)


def _renamed(data: dict[str, object]) -> dict[str, object]:
    """Return values by MIME type, plain text as ``text``, as clients know it."""
    return {"text" if kind == "text/plain" else kind: value for kind, value in data.items()}
