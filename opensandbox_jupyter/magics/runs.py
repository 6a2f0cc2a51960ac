"""A run: one use of ``%%sandbox_exec``, what became of it, and all that it printed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from opensandbox_jupyter.exceptions import SandboxException
from opensandbox_jupyter.magics.escape import Cleaner, Text, visible
from opensandbox_jupyter.magics.footer import lines_of
from opensandbox_jupyter.magics.spool import Spool

__all__ = ["KILLED", "Run", "shortened"]

KILLED = -1
"""The exit code that execd gives to a command that a signal ended, its time limit included."""

_READ_LIMIT = 64 * 1024 * 1024
_TAIL_LINES = 5
_TAIL_SIZE = 2000


class Run:
    """One command in a sandbox, started by a magic.

    Attributes:
        id: its number in this session.
        command: the shell script.
        sandbox_id: the sandbox it ran in.
        execution_id: the server's name for it; ``None`` until it has started there.
        background: whether it was started with ``--bg``.
        exit_code: ``None`` while it runs, and when it is not known.
        error: why it ended without an exit code, if it did.
        interrupted: whether a person ended it.
        started, finished: moments, UTC.
        lines, size: how many lines and bytes it has printed.
        error_lines: how many of the lines went to standard error.
    """

    def __init__(self, number: int, command: str, sandbox_id: str, spool: Spool) -> None:
        self.id = number
        self.command = command
        self.sandbox_id = sandbox_id
        self.execution_id: str | None = None
        self.background = False
        self.exit_code: int | None = None
        self.error: str | None = None
        self.interrupted = False
        self.started = datetime.now(timezone.utc)
        self.finished: datetime | None = None
        self.size = 0
        self.shown_at: int | None = None
        self._spool = spool
        self._ended = threading.Event()
        self._stop: Callable[[], object] | None = None
        self._line_ends = [0, 0]
        self._open_line = [False, False]
        self._tail: deque[str] = deque()
        self._tail_size = 0

    def __repr__(self) -> str:
        command = visible(shortened(self.command))
        return f"<Run {self.id}: {self.state}, {lines_of(self.lines)}, {command!r}>"

    def _ipython_display_(self) -> None:
        """Show the one-line form, but not right under the output that the magic has just shown."""
        from IPython import get_ipython  # type: ignore[attr-defined,unused-ignore]
        from IPython.display import display  # type: ignore[attr-defined,unused-ignore]

        shell = get_ipython()
        if shell is None or shell.execution_count != self.shown_at:
            display({"text/plain": repr(self)}, raw=True)  # type: ignore[no-untyped-call,unused-ignore]

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    @property
    def state(self) -> str:
        """One word or two: ``running``, ``exit 0``, ``killed``, ``interrupted``, ``lost``, …"""
        if self.running:
            return "running"
        if self.interrupted:
            return "interrupted"
        if self.exit_code == KILLED:
            return "killed"
        if self.exit_code is not None:
            return f"exit {self.exit_code}"
        return "lost" if self.execution_id else "not started"

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return ((self.finished or datetime.now(timezone.utc)) - self.started).total_seconds()

    @property
    def lines(self) -> int:
        """How many lines it has printed; an unfinished last one counts."""
        return sum(self._line_ends) + sum(self._open_line)

    @property
    def error_lines(self) -> int:
        """How many lines of standard error it has printed."""
        return self._line_ends[1] + self._open_line[1]

    @property
    def path(self) -> Path:
        """The file with its whole output."""
        self._spool.flush()
        return self._spool.path

    @property
    def text(self) -> str:
        """All output in the order in which it came, raw; its first 64 MiB. See also ``open``."""
        return self._spool.read(_READ_LIMIT)

    @property
    def stdout(self) -> str:
        """Standard output, raw; its first 64 MiB. In the background both streams are here."""
        return self._spool.read(_READ_LIMIT, is_error=False)

    @property
    def stderr(self) -> str:
        """Error output, raw; its first 64 MiB. In the background it is part of ``stdout``."""
        return self._spool.read(_READ_LIMIT, is_error=True)

    @property
    def tail(self) -> str:
        """The last few lines, cleaned."""
        lines = "".join(self._tail)[-_TAIL_SIZE:].splitlines()[-_TAIL_LINES:]
        return "\n".join(_plain(line) for line in lines)

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """Give all output in order, in pieces, each with whether it is error output."""
        return self._spool.pieces()

    def open(self) -> IO[str]:
        """Open the whole output as a text file, for reading piece by piece."""
        return self._spool.open()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, at most ``timeout`` seconds; tell whether it has."""
        return self._ended.wait(timeout)

    def interrupt(self) -> None:
        """End it in the sandbox, with all of its processes.

        Raises:
            SandboxException: when it is not running.
        """
        if not self.running or self._stop is None:
            raise SandboxException(f"Run {self.id} is not running.")
        self._stop()

    def stopper(self, stop: Callable[[], object]) -> None:
        """Name the function that ends it."""
        self._stop = stop

    def add(self, text: str, is_error: bool) -> None:
        """Take note of output and put it on disk. Called on the portal."""
        if not text:
            return
        self.size += self._spool.write(text, is_error)
        self._line_ends[is_error] += text.count("\n")
        self._open_line[is_error] = not text.endswith("\n")
        self._tail.append(text[-_TAIL_SIZE:])
        self._tail_size += len(self._tail[-1])
        while self._tail_size - len(self._tail[0]) > _TAIL_SIZE:
            self._tail_size -= len(self._tail.popleft())

    def end(self) -> None:
        """Take note that it has ended."""
        self.finished = datetime.now(timezone.utc)
        self._spool.close()
        self._ended.set()


def shortened(text: str, limit: int = 60) -> str:
    """Return a text on one line, its end cut off when it is long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _plain(line: str) -> str:
    cleaner = Cleaner()
    tokens = [*cleaner.feed(line.rpartition("\r")[2] or line), *cleaner.close()]
    return "".join(token.text for token in tokens if isinstance(token, Text))
