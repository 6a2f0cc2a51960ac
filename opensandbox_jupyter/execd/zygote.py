"""Gives birth to the execd of each sandbox: a copy of one process that has every module loaded.

To load them takes most of the time and memory of a sandbox's start, so it happens once, outside.
For each sandbox the zygote, which belongs to the server and knows no secret, forks a child that
keeps nothing but the descriptors meant for it, enters the namespaces that bubblewrap has made,
becomes their root, and gives up what bubblewrap would have made it give up. Nothing of the sandbox
runs yet: bubblewrap waits, and goes on when this is done, to start a shell that only waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import signal
import socket
import sys
import traceback
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import msgspec

from opensandbox_jupyter.execd.__main__ import main as serve
from opensandbox_jupyter.execd.kernel import call
from opensandbox_jupyter.execd.privileges import (
    bound_capabilities,
    filter_calls,
    keep_capabilities,
)

__all__ = ["main"]

_MOST, _MOST_SAID = 256 * 1024, 4096
_REPLY, _WALLS, _OUTPUT, _CONFIG = 3, 4, 5, 6
_FIRST_HIGH = 100
_MOST_DESCRIPTORS = 16
_NAMESPACES = 0x7E020000
"""Those of users, mounts, processes, networks, names, messages and control groups."""
_PR_SET_DUMPABLE, _PR_SET_NAME = 4, 15
_NAME = b"execd"
_ARGUMENTS = 48
"""Which field of ``/proc/self/stat`` tells where a process keeps its arguments."""


class _Wanted(msgspec.Struct, frozen=True):
    """What the server asks for, beside descriptors.

    These are, from 3 on: where to answer, a process inside the walls, standard error, where the
    settings will come from, and those that the settings name.

    Attributes:
        limits: resource limits by kind.
        filter: the system call filter.
        capabilities: the mask of those that are kept.
        places: directories outside, and where they are inside.
    """

    limits: dict[int, int]
    filter: bytes
    capabilities: int
    places: dict[str, str]


def main() -> None:
    """Serve the server that is at the other end of standard input, until it goes away."""
    signal.signal(signal.SIGCHLD, _reap)
    call("prctl", _PR_SET_NAME, _NAME, 0, 0, 0)
    _forget_arguments()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=0) as server:
        while True:
            said, fds, _, _ = socket.recv_fds(server, _MOST, _MOST_DESCRIPTORS)
            if not said:
                return
            if os.fork() == 0:
                _enter(said, fds)
            for fd in fds:
                os.close(fd)


def _enter(said: bytes, fds: list[int]) -> NoReturn:
    """Enter the namespaces; only children of this process will be in that of processes."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _renumber(fds)
        with socket.socket(fileno=_REPLY) as reply:
            try:
                wanted = msgspec.json.decode(said, type=_Wanted)
                _write("/proc/self/oom_score_adj", "500")
                if os.geteuid() == 0:
                    os.setgroups([])
                call("setns", _WALLS, _NAMESPACES)
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
                call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
                parent = os.fork()
                if parent != 0:
                    os.waitpid(parent, 0)
                    os._exit(0)
                if os.fork() != 0:
                    os._exit(0)  # so that its child becomes one of the sandbox's first process
                _give_up(wanted)
            except (OSError, ValueError) as error:
                number = error.errno if isinstance(error, OSError) else 0
                reply.send(f"{number or 0} {error}".encode()[:_MOST_SAID])
                os._exit(1)
            handle = array("i", [os.pidfd_open(os.getpid())])
            reply.sendmsg([b"0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handle)])
            os.close(handle[0])
        gc.enable()
        serve(["--config-fd", str(_CONFIG)])
        sys.stderr.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _give_up(wanted: _Wanted) -> None:
    """Become what bubblewrap would have started: another session, no privileges, no way back."""
    os.dup2(_OUTPUT, 1)
    os.dup2(_OUTPUT, 2)
    os.close(_OUTPUT)
    os.close(_WALLS)
    _keep_number(os.open(os.devnull, os.O_RDONLY), 0)
    os.setsid()
    os.chdir("/")
    for kind, value in wanted.limits.items():
        for pid in (1, 0):  # the first process, which starts one more, and this one
            resource.prlimit(pid, kind, (value, value))
    _move(wanted.places)
    bound_capabilities(wanted.capabilities)
    keep_capabilities(wanted.capabilities)
    filter_calls(wanted.filter)


def _renumber(fds: list[int]) -> None:
    """Number the descriptors from 3 on, and close every other."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_HIGH) for fd in fds]
    for number in range(3):
        _keep_number(os.open(os.devnull, os.O_RDWR), number)
    for number, fd in enumerate(high, _REPLY):
        os.dup2(fd, number, inheritable=False)
    os.closerange(_REPLY + len(fds), 65_536)


def _keep_number(fd: int, number: int) -> None:
    if fd != number:
        os.dup2(fd, number)
        os.close(fd)


def _move(places: Mapping[str, str]) -> None:
    """Let what was loaded outside go on inside, where the same directories have other names."""

    def moved(path: str) -> str:
        for outside, inside in places.items():
            if path == outside or path.startswith(f"{outside}/"):
                return inside + path[len(outside) :]
        return path

    for module in list(sys.modules.values()):
        with contextlib.suppress(AttributeError, TypeError):
            module.__file__ = moved(module.__file__ or "")
        with contextlib.suppress(AttributeError, TypeError):
            module.__path__ = [moved(path) for path in module.__path__]
    sys.path[:] = map(moved, sys.path)
    sys.path_importer_cache.clear()
    sys.executable = moved(sys.executable)
    sys.prefix = sys.base_prefix = moved(sys.base_prefix)
    sys.exec_prefix = sys.base_exec_prefix = moved(sys.base_exec_prefix)


def _forget_arguments() -> None:
    """Overwrite what others see as the command of this process and of its copies."""
    stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
    fields = stat.rpartition(")")[2].split()
    first, last = (int(fields[n - 3]) for n in (_ARGUMENTS, _ARGUMENTS + 1))
    name = _NAME.ljust(last - first - 1, b"\0") + b"!"  # the kernel shows the rest, but for zeros
    ctypes.memmove(first, name, len(name))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
