"""The running processes of one sandbox: watched, stopped, continued, killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import psutil

from opensandbox_jupyter.server.errors import Refusal

if TYPE_CHECKING:
    from opensandbox_jupyter.server.cgroups import Group

__all__ = ["Confined"]

_TAIL_BYTES = 16_384
_REST_SECONDS = 0.05
_STOP_ATTEMPTS = 500
_STILL = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})


class Confined:
    """The running processes of one sandbox.

    Args:
        popen: the outermost of them.
        output: where what execd and bubblewrap say can be read.
        hold: closed when all have ended, or with this process: one of them waits for that.
    """

    def __init__(self, popen: subprocess.Popen[bytes], output: int, hold: int) -> None:
        self._popen = popen
        self._hold = hold
        self._output = output
        self._tail = bytearray()
        self._first: int | None = None
        self._holder: int | None = None
        self._execd: int | None = None
        self._handle = os.pidfd_open(popen.pid)
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = loop.create_future()
        """The exit code of the outermost process, once all are gone."""
        os.set_blocking(output, False)
        loop.add_reader(output, self._read_output)
        self._rest: asyncio.TimerHandle | None = None
        loop.add_reader(self._handle, self._reap)

    @property
    def pids(self) -> list[int]:
        """The pids, outside, of the processes that hold the sandbox together."""
        return [self._popen.pid, *([] if self._first is None else [self._first])]

    @property
    def tail(self) -> str:
        """The last lines that execd, or bubblewrap, wrote to its standard error."""
        self._read_output()
        return self._tail.decode("utf-8", "replace").strip()

    def found(self, holder: int, first: int) -> None:
        """Learn the pid of the process whose end ends all others, and of the first one inside."""
        self._first = first
        self._holder = os.pidfd_open(holder)

    def joined(self, execd: int) -> None:
        """Learn the descriptor of an execd that came from outside. All ends with it."""
        self._execd = execd
        asyncio.get_running_loop().add_reader(execd, self._execd_ended)

    def tree(self) -> list[psutil.Process]:
        """Return every process inside, the first one included."""
        if self._first is None:
            return []
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(self._first)
            return [first, *first.children(recursive=True)]
        return []

    def stop_all(self) -> bool:
        """Stop every process with SIGSTOP. Return whether all of them stand still. Blocks."""
        for attempt in range(_STOP_ATTEMPTS):
            moving = [p for p in self.tree() if attempt == 0 or not _stands_still(p)]
            if not moving:
                return True
            for process in moving:
                with contextlib.suppress(psutil.Error):
                    process.suspend()
            time.sleep(0.002)
        self.continue_all()
        return False

    def continue_all(self) -> None:
        """Let every process go on after :meth:`stop_all`. Blocks."""
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                process.resume()

    async def kill(self, group: Group | None) -> None:
        """Kill every process inside and wait until they are gone."""
        for attempt in range(3):
            if self.ended.done():
                return
            self._signal(attempt)
            if group is not None:
                with contextlib.suppress(OSError):
                    group.thaw()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.ended), 5.0)
        if not self.ended.done():
            raise Refusal(500, "DOCKER::SANDBOX_DELETE_FAILED", "Its processes cannot be killed.")

    def _signal(self, attempt: int) -> None:
        if self._holder is not None and attempt == 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._holder, signal.SIGKILL)
        else:
            self._popen.kill()

    def _read_output(self) -> None:
        """Take a little and rest: what is inside could write without end."""
        if self._output < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._output)
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._output, 65_536)
            self._tail += data
            del self._tail[:-_TAIL_BYTES]
            if not data:
                return
        self._rest = loop.call_later(_REST_SECONDS, self._listen)

    def _execd_ended(self) -> None:
        self._forget_execd()
        if not self.ended.done():
            self._signal(0)

    def _forget_execd(self) -> None:
        if self._execd is not None:
            asyncio.get_running_loop().remove_reader(self._execd)
            os.close(self._execd)
            self._execd = None

    def _listen(self) -> None:
        if self._output >= 0:
            asyncio.get_running_loop().add_reader(self._output, self._read_output)

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._handle)
        os.close(self._handle)
        code = self._popen.wait()
        self._read_output()
        loop.remove_reader(self._output)
        if self._rest is not None:
            self._rest.cancel()
        os.close(self._output)
        os.close(self._hold)
        self._output = self._hold = -1
        if self._holder is not None:
            os.close(self._holder)
            self._holder = None
        self._forget_execd()
        if not self.ended.done():
            self.ended.set_result(code)


def _stands_still(process: psutil.Process) -> bool:
    """Whether it runs no more; also one in the middle of vfork(), whose child was stopped first."""
    try:
        status = process.status()
        if status == psutil.STATUS_DISK_SLEEP:
            return any(child.status() == psutil.STATUS_STOPPED for child in process.children())
    except psutil.Error:
        return True
    return status in _STILL
