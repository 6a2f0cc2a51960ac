"""Starts the processes of a sandbox inside its walls.

All of it runs in the server's main thread, because ``--die-with-parent`` means the thread that
started bubblewrap. execd gets its settings last, once every link of that chain holds: a server
that dies earlier leaves it with an empty pipe, and it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import platform
import re
import resource
import socket
import subprocess
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import psutil

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER
from opensandbox_jupyter.server import jail as walls
from opensandbox_jupyter.server import seccomp
from opensandbox_jupyter.server.errors import start_failed
from opensandbox_jupyter.server.guard import StartGuard
from opensandbox_jupyter.server.identity import is_host_root
from opensandbox_jupyter.server.process import Confined
from opensandbox_jupyter.server.provision import HOLDER, execd_command, programs
from opensandbox_jupyter.server.zygote import EXECD, FIRST_GIVEN, Unborn

if TYPE_CHECKING:
    from opensandbox_jupyter.server.cgroups import Group
    from opensandbox_jupyter.server.probe import Tools
    from opensandbox_jupyter.server.ways_out import WayOut
    from opensandbox_jupyter.server.zygote import Zygote

__all__ = ["Plan", "launch"]

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_READY_SECONDS = 20.0
_LAST_WORDS_SECONDS = 2.0
_LOOK_AGAIN = 0.005  # nothing waits for it: execd has modules to load first
_OPEN_FILES = 65_536
_PROCESSES = 4096
_NEWEST_LIMITS = (5, 14)
"""Since this kernel, a limit on processes counts those of the sandbox, not those of the user."""


@dataclass(frozen=True)
class Plan:
    """All that is needed to start a sandbox's processes."""

    jail: walls.Jail
    tools: Tools
    uid: int
    socket_path: str
    python: tuple[str, ...]
    """The command inside that runs Python, for execd."""
    settings: dict[str, object]
    """What execd is told, without ``listen_fd``."""
    way_out: WayOut | None = None
    group: Group | None = None
    check: Callable[[int], None] | None = None
    """Looks at the mounts of the process with that pid before anything of the sandbox runs."""
    zygote: Zygote | None = None
    """Where execd comes from; otherwise it is started inside, from nothing."""
    memory: int | None = None
    """A limit in bytes for each process, where no group counts them together."""


async def launch(plan: Plan) -> Confined:
    """Start a sandbox and return when its execd answers.

    Raises:
        Refusal: it did not start; nothing of it is left but its files.
    """
    if plan.zygote is not None and plan.zygote.is_able:
        try:
            return await _launch(plan)
        except Unborn as error:
            if plan.jail.nests and plan.zygote.is_able:
                said = f"The sandbox could not be started: {error}. Try again."
                raise start_failed(said, 503) from error
            _LOG.warning("A sandbox starts without the zygote: %s", error)
    # Its files are its owner's, and could make what bubblewrap starts there theirs, too: so that
    # one never has a capability.
    without = {**plan.settings, "nesting": None}
    jail = replace(plan.jail, nests=False)
    return await _launch(replace(plan, zygote=None, jail=jail, settings=without))


async def _launch(plan: Plan) -> Confined:
    try:
        start = _Start(plan)
    except OSError as error:
        raise start_failed(f"The sandbox could not be started: {error}.", 503) from error
    try:
        return await start.run()
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        await start.undo()
        number = error.errno if isinstance(error, OSError) else None
        status = 503 if number in {errno.EMFILE, errno.ENFILE, errno.EAGAIN} else 500
        raise start_failed(f"The sandbox could not be started: {error}.", status) from error
    except BaseException:
        await start.undo()
        raise
    finally:
        start.close()


@dataclass(frozen=True)
class _Given:
    """Descriptors that execd shall have."""

    error: int
    config: int
    listener: int
    way_out: dict[str, int]

    @property
    def named(self) -> list[int]:
        """Those that it knows by number."""
        return [self.config, self.listener, *self.way_out.values()]


class _Start:
    """The steps of one start, and the descriptors that they need."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._open: set[int] = set()
        self._confined: Confined | None = None
        self._guard = StartGuard()

    def close(self) -> None:
        self._guard.close()
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    async def undo(self) -> None:
        if self._confined is not None:
            await asyncio.shield(self._confined.kill(self._plan.group))

    async def run(self) -> Confined:
        block, unblock = self._pipe()
        config, tell = self._pipe()
        status, status_write = self._pipe()
        output, error = self._pipe()
        way_out = {} if self._plan.way_out is None else self._plan.way_out.descriptors()
        self._open.update(way_out.values())
        given = numbers = _Given(error, config, self._listen(), way_out)
        confined = self._spawn(block, status_write, output, given)
        self._done(block, status_write)
        await self._or_end(_wait_for_status(status))
        first = _find_first(confined)
        if self._plan.group is not None:
            self._plan.group.add(first)  # before it starts anything, so that all later ones are in
        await self._or_end(_wait_for_walls(first))
        if self._plan.check is not None:
            self._plan.check(first)
        if self._plan.zygote is not None:
            numbers = await self._or_end(self._bear(first, given))
        self._done(given.error, *given.named)
        os.write(unblock, b"1")
        await self._or_end(_wait_for_program(first))
        self._guard.dismiss()
        told = {"listen_fd": numbers.listener, "way_out": numbers.way_out or None}
        settings = msgspec.json.encode({**self._plan.settings, **told})
        await self._tell(tell, settings)
        await self._or_end(_ping(self._plan.socket_path, str(self._plan.settings["token"])))
        return confined

    def _spawn(self, block: int, status: int, output: int, given: _Given) -> Confined:
        filter_ = self._memory_file(seccomp.program())
        numbers = walls.Descriptors(seccomp=filter_, status=status, block=block)
        command, options = self._command(numbers)
        held, hold = self._pipe()
        inside, passed = HOLDER, [block, status, filter_, *options]
        if self._plan.zygote is None:
            inside = execd_command(given.config, self._limits(), self._plan.python)
            passed += given.named
        popen = subprocess.Popen(
            [*command, *inside],
            stdin=subprocess.DEVNULL if self._plan.zygote is None else held,
            stdout=given.error,
            stderr=given.error,
            env={},
            cwd="/",
            pass_fds=passed,
            **self._guard.membership(),
        )
        self._open -= {output, hold}
        self._done(held, filter_, *options)
        self._confined = Confined(popen, output, hold)
        return self._confined

    async def _bear(self, first: int, given: _Given) -> _Given:
        """Have an execd put in. Return the numbers that its descriptors have there."""
        assert self._confined is not None and self._plan.zygote is not None
        nests = self._plan.jail.nests
        inside = os.pidfd_open(first)
        self._open.add(inside)
        execd = await self._plan.zygote.bear(
            Path(self._plan.jail.library.source),
            inside,
            (given.error, *given.named),
            limits=self._limits(),
            filter_=seccomp.program(nests=nests),
            capabilities=walls.NESTING if nests else 0,
        )
        self._confined.joined(execd)
        if self._plan.group is not None:
            self._plan.group.add(_pid_of(execd))
        self._done(inside)
        config, listener, *more = range(FIRST_GIVEN, FIRST_GIVEN + len(given.named))
        return _Given(2, config, listener, dict(zip(given.way_out, more, strict=True)))

    def _command(self, numbers: walls.Descriptors) -> tuple[tuple[str, ...], list[int]]:
        """Return the command up to execd's own, and the descriptors that hold its options."""
        tools = self._plan.tools
        if not is_host_root():
            inner = self._options(walls.inner_options(self._plan.jail, numbers))
            return (tools.bwrap, "--args", str(inner), "--"), [inner]
        outer_list, seen = walls.outer_options(self._plan.jail, programs())
        outer = self._options(outer_list)
        inner = self._options(walls.inner_options(seen, numbers))
        become = walls.confined_command(tools.bwrap, tools.setpriv, self._plan.uid, inner)
        return (tools.bwrap, "--args", str(outer), "--", *become), [outer, inner]

    def _limits(self) -> dict[int, int]:
        """Return what execd shall bind itself to, and so every process that it starts."""
        wanted = {
            resource.RLIMIT_CORE: 1,  # not 0, which a core pattern with a program ignores
            resource.RLIMIT_NOFILE: _OPEN_FILES,
        }
        if _kernel() >= _NEWEST_LIMITS:
            wanted[resource.RLIMIT_NPROC] = _PROCESSES
        if self._plan.memory is not None:
            wanted[resource.RLIMIT_DATA] = self._plan.memory
        hard = {kind: resource.getrlimit(kind)[1] for kind in wanted}
        return {
            kind: value if hard[kind] == resource.RLIM_INFINITY else min(value, hard[kind])
            for kind, value in wanted.items()
        }

    async def _tell(self, descriptor: int, document: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._open.discard(descriptor)
        pipe = os.fdopen(descriptor, "wb", buffering=0)
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, pipe)
        transport.write(document)
        transport.close()

    async def _or_end(self, step: Coroutine[Any, Any, _T]) -> _T:
        """Await ``step``, unless the processes end or too much time goes by first."""
        assert self._confined is not None
        task = asyncio.ensure_future(step)
        ended = self._confined.ended
        try:
            await asyncio.wait((task, ended), timeout=_READY_SECONDS, return_when="FIRST_COMPLETED")
            if task.done() and isinstance(task.exception(), asyncio.IncompleteReadError):
                await asyncio.wait((ended,), timeout=_LAST_WORDS_SECONDS)
            if ended.done():
                said = self._confined.tail or "It said nothing."
                raise start_failed(f"The sandbox ended while it started. {said}")
            if task.done():
                return task.result()
            raise start_failed(f"The sandbox did not answer within {_READY_SECONDS:.0f} s.")
        finally:
            task.cancel()

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._open.update(ends)
        return ends

    def _options(self, options: list[str]) -> int:
        return self._memory_file(b"".join(os.fsencode(option) + b"\0" for option in options))

    def _memory_file(self, content: bytes) -> int:
        descriptor = os.memfd_create("sandbox")
        self._open.add(descriptor)
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def _listen(self) -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._plan.socket_path)
            listener.bind(self._plan.socket_path)
            listener.listen(1024)
            descriptor = listener.detach()
        self._open.add(descriptor)
        return descriptor

    def _done(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            self._open.discard(descriptor)
            os.close(descriptor)


def _find_first(confined: Confined) -> int:
    """Go down from the outermost process to the first one inside; each has one child."""
    (holder,) = _children(confined.pids[0])
    first = holder
    for _ in range(2 if is_host_root() else 0):
        (first,) = _children(first)
    confined.found(holder, first)
    return first


async def _wait_for_status(status: int) -> None:
    """Wait until bubblewrap says that the first process inside is there."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    pipe = os.fdopen(os.dup(status), "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        await reader.readuntil(b"child-pid")
    finally:
        transport.close()


async def _wait_for_walls(first: int) -> None:
    """Wait until the first process inside has built all walls and waits for our word.

    It gives up its capabilities in between, and in no version of bubblewrap does more lie there.
    """
    while True:
        if re.search(r"^CapPrm:\s*0+$", _read(f"/proc/{first}/status"), re.MULTILINE):
            return
        await asyncio.sleep(_LOOK_AGAIN)


async def _wait_for_program(first: int) -> None:
    """Wait until the first process inside has started its own, when all links of the chain hold."""
    while True:
        if any(_program(child) not in {"", "bwrap", EXECD} for child in _children(first)):
            return
        await asyncio.sleep(_LOOK_AGAIN)


def _pid_of(handle: int) -> int:
    """Return the pid of a process by its descriptor; -1 when it has ended."""
    text = Path(f"/proc/self/fdinfo/{handle}").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pid:"))


def _program(pid: int) -> str:
    return _read(f"/proc/{pid}/comm").strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in text.split()]
    except FileNotFoundError:  # a kernel without that file
        with contextlib.suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children()]
    return []


async def _ping(socket_path: str, token: str) -> None:
    """Return when execd answers 200 on its socket."""
    request = f"GET /ping HTTP/1.1\r\nHost: sandbox\r\n{EXECD_TOKEN_HEADER}: {token}\r\n"
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(socket_path)
            try:
                writer.write(f"{request}Connection: close\r\n\r\n".encode())
                line = await reader.readline()
                if re.match(rb"HTTP/1\.1 200\b", line):
                    return
            finally:
                writer.close()
        await asyncio.sleep(0.05)


def _kernel() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)
