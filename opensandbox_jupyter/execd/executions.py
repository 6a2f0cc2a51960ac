"""Commands that run or have run: their records, and the book that keeps them."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING
from uuid import uuid4

from opensandbox_jupyter.execd.backlog import LIMIT, Log
from opensandbox_jupyter.execd.errors import Refusal
from opensandbox_jupyter.execd.pipes import Pipe
from opensandbox_jupyter.execd.processes import Process, User, describe, terminate

if TYPE_CHECKING:
    from opensandbox_jupyter.execd.held import HeldStream

__all__ = ["Book", "Execution"]

_log = logging.getLogger(__name__)

_GRACE = 3.0
_KEEP = 24 * 3600.0
_MOST = 10_000
_CONTENT_KEPT = 4096
_QUIET = 0.2
_LINGER = 25  # looks, half of _QUIET apart
_LEFT_BEHIND = 4 * 1024 * 1024
_START_FAILED = 255


class Execution:
    """One command, from before its start until its record is dropped.

    Args:
        content: the command as it was asked for.
        argv: what is executed.
        on_change: called whenever there is something new to look at.

    Attributes:
        finished_at: when it ended, as seconds since 1970; ``None`` while it runs.
        drained: whether all of its output has been read, or given up on.
        held: its stream, if a client may come back to it.
        paused: whether its output is not being read for now, because the reader is slow.
    """

    def __init__(self, content: str, argv: list[str], execution_id: str | None = None) -> None:
        self.id = execution_id or uuid4().hex
        self.content = content
        self.argv = argv
        self.started_at = time.time()
        self.finished_at: float | None = None
        self.exit_code: int | None = None
        self.error: str | None = None
        self.log: Log | None = None
        self.process: Process | None = None
        self.held: HeldStream | None = None
        self.drained = False
        self.paused = False
        self.on_change: Callable[[], None] = _nothing
        self._pipes: list[Pipe] = []
        self._began = time.monotonic()
        self._took = 0.0
        self._last_read = 0.0
        self._lingered = self._left_behind = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def milliseconds(self) -> int:
        """How long it took."""
        return int(self._took * 1000)

    def start(
        self,
        on_output: Mapping[str, Callable[[bytes], None]],
        *,
        cwd: str,
        env: Mapping[str, str],
        user: User,
        timeout: float | None = None,
    ) -> None:
        """Start the process; ``on_output`` has one function for each pipe, or one for both.

        Raises:
            OSError: when it cannot be started; the record then says so.
        """
        try:
            self._pipes = [Pipe(self._reader(feed), self._settle) for feed in on_output.values()]
            self.process = Process(
                self.argv,
                cwd=cwd,
                env=env,
                stdout=self._pipes[0].write_fd,
                stderr=self._pipes[-1].write_fd,
                user=user,
                on_exit=self._exited,
            )
        except (OSError, ValueError) as exc:
            for pipe in self._pipes:
                pipe.close()
            self._failed(exc)
            raise
        for pipe in self._pipes:
            pipe.start()
        if timeout:
            self._timer = asyncio.get_running_loop().call_later(timeout, self._time_out)

    def _reader(self, feed: Callable[[bytes], None]) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            self._last_read = time.monotonic()
            feed(data)
            if self.exit_code is not None:
                self._left_behind += len(data)
                self._settle()

        return read

    def _failed(self, exc: Exception) -> None:
        reason = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
        self.error = f"{self.argv[0][:_CONTENT_KEPT]}: {reason}"
        self.exit_code = _START_FAILED
        self.drained = True
        self._finish()

    def pause(self) -> None:
        """Stop reading output for now."""
        self.paused = True
        for pipe in self._pipes:
            pipe.pause()

    def resume(self) -> None:
        """Go on reading output."""
        if self.paused:
            self.paused = False
            for pipe in self._pipes:
                pipe.resume()

    def discard(self) -> None:
        """Nobody will look at the output any more: read it and forget it."""
        self.paused = False
        self.on_change = _nothing
        for pipe in self._pipes:
            pipe.discard()

    def _exited(self, returncode: int) -> None:
        self._took = time.monotonic() - self._began
        self.exit_code, message = describe(returncode)
        self.error = message if returncode else None
        self._stop_timer()
        if self.log is None:
            self._finish()
        self._settle()

    def _settle(self) -> None:
        """Notice the end: all pipes have ended, or the leader has and the others are quiet.

        Those that are never quiet are heard for a while and no longer.
        """
        is_open = any(pipe.is_open for pipe in self._pipes)
        if self.drained and self.log is not None and not is_open:
            self.log.close()
        if self.drained or self.exit_code is None:
            return
        quiet = time.monotonic() - max(self._last_read, self._began + self._took)
        lost_patience = not self.paused and (quiet >= _QUIET or self._lingered > _LINGER)
        if not is_open or lost_patience or self._left_behind > _LEFT_BEHIND:
            self._drain()
        elif self._timer is None:
            self._lingered += not self.paused
            self._timer = asyncio.get_running_loop().call_later(_QUIET / 2, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._settle()

    def _drain(self) -> None:
        self.drained = True
        self._stop_timer()
        if self.log is None:
            for pipe in self._pipes:
                pipe.discard()
        else:
            self._finish()  # what is left behind still writes to the log
            self._settle()
        self.on_change()

    def _finish(self) -> None:
        self.finished_at = time.time()
        self.content = self.content[:_CONTENT_KEPT]

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        self._ending = asyncio.ensure_future(self._kill(grace=0))

    def abandon(self) -> None:
        """End it, if it still runs: its client has left."""
        self.discard()
        if self.process is not None and self.exit_code is None:
            self._ending = asyncio.ensure_future(self._kill(grace=_GRACE))

    async def _kill(self, grace: float) -> None:
        assert self.process is not None
        try:
            await terminate(self.process, grace=grace)
        except Refusal as exc:
            _log.warning("command %s: %s", self.id, exc.message)

    async def interrupt(self) -> None:
        """End it and everything that it started.

        Raises:
            Refusal: 404 when it has ended by itself, 500 when it cannot be ended.
        """
        if self.process is None or self.process.exited.is_set():
            raise Refusal(404, "RUNTIME_ERROR", f"The command {self.id} has already finished.")
        await terminate(self.process)
        await self.process.exited.wait()

    def status(self) -> dict[str, object]:
        """Return what ``GET /command/status`` says."""
        status: dict[str, object] = {
            "id": self.id,
            "content": self.content,
            "running": self.finished_at is None,
            "started_at": _stamp(self.started_at),
        }
        if self.finished_at is not None:
            status |= {"exit_code": self.exit_code, "finished_at": _stamp(self.finished_at)}
            if self.error:
                status["error"] = self.error
        return status


class Book:
    """All executions by id: those that run, and those that ended not too long ago.

    ``held`` are the streams that clients may come back to.
    """

    def __init__(self, state_dir: str | None) -> None:
        self._executions: dict[str, Execution] = {}
        self.held: set[HeldStream] = set()
        self._own = state_dir is None
        self._state_dir = state_dir or tempfile.mkdtemp(prefix="execd-")

    def add(self, execution: Execution) -> None:
        """Keep a record of ``execution``, and drop what is too old or too much."""
        self._executions[execution.id] = execution
        oldest = time.time() - _KEEP
        surplus = len(self._executions) - _MOST
        for old in list(self._executions.values()) if surplus > 0 else self._first():
            if old.finished_at is None:
                continue
            if surplus <= 0 and old.finished_at > oldest:
                break
            surplus -= 1
            self._drop(old)

    def forget(self, execution_id: str) -> None:
        """Drop a record that has finished, if there is one."""
        old = self._executions.get(execution_id)
        if old is not None and old.finished_at is not None:
            self._drop(old)

    def _first(self) -> list[Execution]:
        """Return the oldest few, which is enough to keep up with one that is added."""
        return list(islice(self._executions.values(), 8))

    def _drop(self, execution: Execution) -> None:
        del self._executions[execution.id]
        if execution.log is not None:
            execution.log.remove()

    def find(self, execution_id: str, code: str) -> Execution:
        """Return the execution.

        Raises:
            Refusal: 404 with ``code`` when there is none.
        """
        execution = self._executions.get(execution_id)
        if execution is None:
            raise Refusal(404, code, f"There is no command {execution_id[:64]}.")
        return execution

    @property
    def running(self) -> int:
        """How many have not finished."""
        return sum(e.finished_at is None for e in self._executions.values())

    def new_log(self, execution: Execution, limit: int = LIMIT) -> Log:
        """Return a new file for the output of ``execution``."""
        os.makedirs(self._state_dir, 0o700, exist_ok=True)
        return Log(os.path.join(self._state_dir, f"{execution.id}.log"), limit)

    async def close(self) -> None:
        """End all that runs, and remove the logs."""
        running = [e.process for e in self._executions.values() if e.finished_at is None]
        endings = [terminate(process, grace=0) for process in running if process is not None]
        await asyncio.gather(*endings, return_exceptions=True)
        if self._own:
            shutil.rmtree(self._state_dir, ignore_errors=True)


def _nothing() -> None:
    """Do nothing: the watcher of an execution that nobody watches."""


def _stamp(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
