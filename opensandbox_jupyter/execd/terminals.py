"""Shells for people: a process behind a terminal, or behind pipes, that outlives its viewers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import struct
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress

from opensandbox_jupyter.execd.errors import Refusal
from opensandbox_jupyter.execd.processes import Process, User, describe, terminate
from opensandbox_jupyter.execd.rings import Ring

__all__ = ["STDERR", "STDOUT", "Terminal"]

STDOUT, STDERR = 1, 2
_CHUNK = 32 * 1024
_MOST_INPUT = 1024 * 1024
_LAST_READS = 64
_MOST_CELLS = 4096
# The leader of a session that opens a terminal gets it as its own.
_ON_TERMINAL = 'exec 0<>"$1" 1>&0 2>&0; shift; exec "$@"'


class Terminal:
    """One terminal. Its shell starts when it is first looked at, and again after it has ended.

    Attributes:
        mode: ``pty``, or ``pipe`` with standard error apart.
        ring: its latest output.
        feed: where output goes as it comes, when somebody looks.
        on_exit: called with the exit code when the shell has ended and its output is read.
    """

    def __init__(self, cwd: str, command: str | None) -> None:
        self.mode = "pty"
        self.ring = Ring()
        self.feed: Callable[[int, bytes], None] | None = None
        self.on_exit: Callable[[int], None] | None = None
        self._cwd, self._command = cwd, command
        self._process: Process | None = None
        self._loop = asyncio.get_running_loop()
        self._readers: dict[int, int] = {}
        self._input_fd = -1
        self._input = b""
        self._paused = False

    @property
    def running(self) -> bool:
        """Whether its shell runs."""
        return self._process is not None

    def start(self, env: Mapping[str, str], *, pty: bool) -> None:
        """Start the shell.

        Raises:
            OSError: when it cannot be started.
        """
        self.mode = "pty" if pty else "pipe"
        bash = shutil.which("bash", path=env.get("PATH", os.defpath))
        argv = [bash, "--norc", "--noprofile"] if bash else ["sh"]
        argv += ["-c", self._command] if self._command else []
        env = {"TERM": "xterm-256color", **env} if pty else env
        ours, theirs = _pty() if pty else _pipes()
        try:
            if pty:
                argv = ["sh", "-c", _ON_TERMINAL, "sh", os.ttyname(theirs[0]), *argv]
            self._process = Process(
                argv,
                cwd=self._cwd,
                env=env,
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                user=User(None, None),
                on_exit=self._exited,
            )
        except OSError:
            _close(ours)
            raise
        finally:
            _close(theirs)
        self._input, self._input_fd = b"", ours[0]
        self._readers = {ours[1]: STDOUT, ours[2]: STDERR} if not pty else {ours[0]: STDOUT}
        self.resume()

    def pause(self) -> None:
        """Stop reading: the shell will wait."""
        self._paused = True
        for fd in self._readers:
            self._loop.remove_reader(fd)

    def resume(self) -> None:
        """Go on reading."""
        self._paused = False
        for fd in self._readers:
            self._loop.add_reader(fd, self._read, fd)

    def _read(self, fd: int) -> bool:
        """Read once; return whether there may be more."""
        try:
            data = os.read(fd, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:  # a terminal that nobody has open any more
            data = b""
        if not data:
            self._loop.remove_reader(fd)
            return False
        self.ring.add(data)
        if self.feed is not None:
            self.feed(self._readers[fd], data)
        return True

    def write(self, data: bytes) -> bool:
        """Send input; return false when there is nobody to read it, or too much waits."""
        if self._input_fd < 0 or len(self._input) + len(data) > _MOST_INPUT:
            return False
        self._input += data
        self._write()
        return True

    def _write(self) -> None:
        try:
            self._input = self._input[os.write(self._input_fd, self._input) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._input = b""
        self._loop.remove_writer(self._input_fd)
        if self._input:
            self._loop.add_writer(self._input_fd, self._write)

    def resize(self, columns: int, rows: int) -> bool:
        """Change the size; return false when it is no size, or there is no terminal."""
        if not (0 < columns <= _MOST_CELLS and 0 < rows <= _MOST_CELLS):
            return False
        if self.mode == "pty" and self._input_fd >= 0:
            _resize(self._input_fd, columns, rows)
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to what runs in front, or without a terminal to all of it."""
        if self._process is None:
            return
        group = self._process.pid
        if self.mode == "pty":
            with suppress(OSError):
                group = os.tcgetpgrp(self._input_fd) or group
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)

    def _exited(self, returncode: int) -> None:
        for fd in list(self._readers):
            for _ in range(_LAST_READS):
                if not self._read(fd):
                    break
        self._let_go()
        self._process = None
        if self.on_exit is not None:
            self.on_exit(describe(returncode)[0])

    def _let_go(self) -> None:
        fds = {self._input_fd, *self._readers} - {-1}
        for fd in fds:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
        _close(list(fds))
        self._readers, self._input_fd = {}, -1

    async def end(self) -> None:
        """End the shell and everything that it started."""
        process = self._process
        if process is not None:
            with suppress(Refusal):
                await terminate(process, grace=0)
            await process.exited.wait()


def _pty() -> tuple[list[int], list[int]]:
    """Return our end and theirs, each as input, output and error."""
    master, slave = os.openpty()
    os.set_blocking(master, False)
    _resize(master, 80, 24)
    return [master], [slave, slave, slave]


def _pipes() -> tuple[list[int], list[int]]:
    reading, writing = zip(*(os.pipe2(os.O_CLOEXEC) for _ in range(3)), strict=True)
    ours, theirs = [writing[0], *reading[1:]], [reading[0], *writing[1:]]
    for fd in ours:
        os.set_blocking(fd, False)
    return ours, theirs


def _resize(fd: int, columns: int, rows: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _close(fds: list[int]) -> None:
    for fd in set(fds):
        os.close(fd)
