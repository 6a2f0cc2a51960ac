"""A process that stays from run to run: asked through one pipe, answering through another.

A run is interrupted by SIGINT, so that the process, and what it remembers, outlives it; only one
that does not let go of a run is ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence

import psutil

from opensandbox_jupyter.execd.errors import Refusal
from opensandbox_jupyter.execd.pipes import Pipe
from opensandbox_jupyter.execd.processes import Process, User, describe, family, send, terminate
from opensandbox_jupyter.execd.turns import Turn

__all__ = ["Resident"]

_HIGH = 200  # far from the numbers that scripts use
_PATIENCE = 2.0
_STEP = 0.05


class Resident:
    """The process of one session or context.

    Args:
        on_end: called once when the process has ended, by itself or not.

    Raises:
        OSError: when it cannot be started.
    """

    def __init__(
        self, resident_id: str, cwd: str, env: Mapping[str, str], on_end: Callable[[], None]
    ) -> None:
        self.id = resident_id
        self.turn: Turn | None = None
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Lock()
        self._owed: dict[str, int] = {}
        self._answers = b""
        self._input = b""
        self._pipes = {name: self._pipe(name) for name in ("stdout", "stderr")}
        self._status = Pipe(self._answered)
        ask, self._ask = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._ask, False)
        try:
            self.process = self._start(ask, cwd, env)
        except OSError:
            self._close()
            raise
        finally:
            os.close(ask)
        for pipe in (*self._pipes.values(), self._status):
            pipe.start()

    def _command(self, ask: int, answer: int, env: Mapping[str, str]) -> Sequence[str]:
        """Return what to start; it reads from ``ask`` and writes to ``answer``. Raises: OSError."""
        raise NotImplementedError

    def _answered(self, data: bytes) -> None:
        """Take what the process says of its runs."""
        raise NotImplementedError

    def _pipe(self, name: str) -> Pipe:
        return Pipe(lambda data: self._feed(name, data), lambda: self._settle(name, None))

    def _start(self, ask: int, cwd: str, env: Mapping[str, str]) -> Process:
        ends: list[int] = []
        try:
            for fd in (ask, self._status.write_fd):
                ends.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH))
            return Process(
                self._command(ends[0], ends[1], env),
                cwd=cwd,
                env=env,
                stdout=self._pipes["stdout"].write_fd,
                stderr=self._pipes["stderr"].write_fd,
                user=User(None, None),
                on_exit=self._exited,
                keep=ends,
            )
        finally:
            for fd in ends:
                os.close(fd)

    def _begin(self, turn: Turn, text: bytes) -> None:
        """Start a run; the process must be free and alive."""
        self.turn = turn
        self._owed = dict.fromkeys(self._pipes, 0)
        self._input = text
        self._send_input()

    def _send_input(self) -> None:
        try:
            self._input = self._input[os.write(self._ask, self._input) :]
        except BlockingIOError:
            pass
        except OSError:
            self._input = b""
        self._loop.remove_writer(self._ask)
        if self._input:
            self._loop.add_writer(self._ask, self._send_input)

    def _feed(self, name: str, data: bytes) -> None:
        turn = self.turn
        if turn is None:
            return  # written between two runs: nobody asked for it
        if feed := turn.feeds.get(name):
            feed(data)
        self._settle(name, len(data))

    def _settle(self, name: str, count: int | None) -> None:
        """Notice that a pipe has given what it held when the run ended."""
        turn = self.turn
        if turn is None or turn.exit_code is None:
            return
        self._owed[name] = 0 if count is None else self._owed[name] - count
        self._close_turn(turn)

    def _close_turn(self, turn: Turn) -> None:
        if all(owed <= 0 for owed in self._owed.values()):
            self.turn = None
            turn.drained = True
            turn.on_change()
            if self.process.exited.is_set():
                self._close()

    def _finish(self, code: int, error: str | None) -> None:
        turn = self.turn
        if turn is not None and turn.exit_code is None:
            turn.finish(code, error)
            self._owed = {name: pipe.waiting for name, pipe in self._pipes.items()}
            self._close_turn(turn)

    def _exited(self, returncode: int) -> None:
        code, message = describe(returncode)
        self._on_end()
        if self.turn is None:
            self._close()
        else:
            self._finish(code, message if returncode else None)

    def pause(self) -> None:
        """Stop reading output for now."""
        for pipe in self._pipes.values():
            pipe.pause()

    def resume(self) -> None:
        """Go on reading output."""
        for pipe in self._pipes.values():
            pipe.resume()

    def _stop_soon(self, turn: Turn) -> None:
        task = asyncio.ensure_future(self._stop(turn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _time_out(self, turn: Turn, timeout: float) -> None:
        turn.reason = f"timed out after {int(timeout * 1000)} ms"
        self._stop_soon(turn)

    def abandon(self, turn: Turn) -> None:
        """Interrupt a run whose client has left."""
        self._stop_soon(turn)

    async def interrupt(self) -> None:
        """End the run, and keep the process if it lets go of the run.

        Raises:
            Refusal: 404 when nothing runs.
        """
        turn = self.turn
        if turn is None or turn.exit_code is not None:
            raise Refusal(404, "RUNTIME_ERROR", f"Nothing runs in {self.id}.")
        await self._stop(turn)

    async def settled(self) -> None:
        """Wait until no signal is on its way that was meant for an earlier run."""
        async with self._stopping:
            return

    async def _stop(self, turn: Turn) -> None:
        """Ask with SIGINT; kill what the run has started; at last, end the process."""
        async with self._stopping:
            await self._press(turn)

    async def _press(self, turn: Turn) -> None:
        for number in (signal.SIGINT, signal.SIGKILL):
            until = time.monotonic() + _PATIENCE
            while time.monotonic() < until:
                if turn.exit_code is not None:
                    return
                await asyncio.to_thread(self._signal, turn, number)
                await asyncio.sleep(_STEP)
        if turn.exit_code is None:
            await self.end()

    def _signal(self, turn: Turn, number: signal.Signals) -> None:
        found: set[psutil.Process] = set()
        for process in family(self.process.pid, set()):
            is_self = process.pid == self.process.pid
            is_new = _started(process.pid) >= turn.began - _STEP
            if (is_self and number is signal.SIGINT) or (is_new and not is_self):
                found.add(process)
        send(found, number)

    async def end(self) -> None:
        """End the process and everything that it started."""
        if not self.process.exited.is_set():
            await terminate(self.process, grace=0)
            await self.process.exited.wait()

    def _close(self) -> None:
        for pipe in (*self._pipes.values(), self._status):
            pipe.close()
        if self._ask >= 0:
            self._loop.remove_writer(self._ask)
            os.close(self._ask)
            self._ask = -1


def _started(pid: int) -> float:
    """Return when a process began, in seconds since the machine did."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError):
        return 0.0
    return ticks / os.sysconf("SC_CLK_TCK")
