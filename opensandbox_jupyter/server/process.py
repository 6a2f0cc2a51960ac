"""The running processes of one sandbox: watched, stopped, continued, killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from opensandbox_jupyter.server.cgroups import Group

__all__ = ["Confined"]

_TAIL_BYTES = 16_384


class Confined:
    """The running processes of one sandbox."""

    def __init__(self, popen: subprocess.Popen[bytes], output: int) -> None:
        self._popen = popen
        self._output = output
        self._tail = bytearray()
        self._first: int | None = None
        self._first_handle: int | None = None
        self._handle = os.pidfd_open(popen.pid)
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = loop.create_future()
        """The exit code of the outermost process, once all are gone."""
        os.set_blocking(output, False)
        loop.add_reader(output, self._read_output)
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

    def found_first(self, pid: int) -> None:
        """Learn the pid of the first process inside."""
        self._first = pid
        self._first_handle = os.pidfd_open(pid)

    def tree(self) -> list[psutil.Process]:
        """Return every process inside, the first one included."""
        if self._first is None:
            return []
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(self._first)
            return [first, *first.children(recursive=True)]
        return []

    def stop_all(self) -> None:
        """Stop every process with SIGSTOP, until no new one turns up. Blocks."""
        stopped: set[int] = set()
        for _ in range(100):
            fresh = [process for process in self.tree() if process.pid not in stopped]
            if not fresh:
                return
            for process in fresh:
                stopped.add(process.pid)
                with contextlib.suppress(psutil.Error):
                    process.suspend()

    def continue_all(self) -> None:
        """Let every process go on after :meth:`stop_all`. Blocks."""
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                process.resume()

    async def kill(self, group: Group | None) -> None:
        """Kill every process inside and wait until they are gone."""
        for attempt in range(3):
            self._signal(attempt)
            if group is not None:
                with contextlib.suppress(OSError):
                    group.thaw()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.ended), 5.0)
                return

    def _signal(self, attempt: int) -> None:
        if self._first_handle is not None and attempt == 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_handle, signal.SIGKILL)
        else:
            self._popen.kill()

    def _read_output(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while not self.ended.done() or self._output >= 0:
                data = os.read(self._output, 65_536)
                if not data:
                    asyncio.get_running_loop().remove_reader(self._output)
                    return
                self._tail += data
                del self._tail[:-_TAIL_BYTES]

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._handle)
        os.close(self._handle)
        code = self._popen.wait()
        self._read_output()
        loop.remove_reader(self._output)
        os.close(self._output)
        self._output = -1
        if self._first_handle is not None:
            os.close(self._first_handle)
        if not self.ended.done():
            self.ended.set_result(code)
