"""The one process of a sandbox that may make namespaces, and asks bubblewrap to.

execd begins with three capabilities and a filter that lets bubblewrap work. It forks the broker,
which keeps them and a clean ``/proc`` in mounts of its own, and then gives all of it up for good:
so whatever execd starts is as confined as in any other sandbox. The broker is as unreadable as
execd and takes requests from execd alone. A Landlock domain around execd keeps all that it starts
from the memory of processes outside, such as bubblewrap's own, which run under the weaker filter.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence
from functools import partial

import msgspec

from opensandbox_jupyter.execd.kernel import call, system_call
from opensandbox_jupyter.execd.overlays import Source, lay_over
from opensandbox_jupyter.execd.privileges import filter_calls, keep_capabilities
from opensandbox_jupyter.execd.settings import Nesting

__all__ = ["FIRST_DESCRIPTOR", "Broker", "start_broker"]

FIRST_DESCRIPTOR = 200
"""The number of a request's first descriptor in what is started; the others follow."""

_MOST = 256 * 1024
_MOST_DESCRIPTORS = 8
_PATIENCE = 10.0
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 0x4000, 0x40000, 2
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION, _PATH_BENEATH, _REFER, _LEAST_LANDLOCK = 1, 1, 1 << 13, 2


class _Wanted(msgspec.Struct):
    argv: list[str]
    sources: list[Source]


class Broker:
    """execd's end of the connection to it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    def start(
        self, argv: Sequence[str], descriptors: Sequence[int], sources: Sequence[Source]
    ) -> int:
        """Start a program in the broker's namespaces and return a pidfd of it. Blocks.

        Args:
            argv: the program and its arguments.
            descriptors: what it inherits, from :data:`FIRST_DESCRIPTOR` on.
            sources: what it will show; it sees copies on write of some of them.

        Raises:
            OSError: it could not be started, or the broker has gone.
        """
        with self._turn:
            wanted = msgspec.json.encode(_Wanted(list(argv), list(sources)))
            try:
                socket.send_fds(self._connection, [wanted], descriptors)
                said, fds, _, _ = socket.recv_fds(self._connection, 4096, 1)
            except OSError:
                self._connection.close()  # a late answer must not be taken for the next one
                raise
        if not fds:
            raise OSError(said.decode("utf-8", "replace") or "The broker of sessions has gone.")
        return fds[0]


def start_broker(nesting: Nesting) -> Broker | None:
    """Fork the broker, and give up what it keeps. To be called before there is any thread.

    Where the kernel has no Landlock that is young enough, there is no broker.

    Raises:
        OSError: something could not be given up; nothing must be started then.
    """
    broker = _fork_broker() if _landlock_version() >= _LEAST_LANDLOCK else None
    call("umount2", nesting.clean_proc.encode(), _MNT_DETACH)
    keep_capabilities(0)
    if broker is not None:
        _enter_domain()
    filter_calls(nesting.filter)
    return broker


def _fork_broker() -> Broker:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(_PATIENCE)
    if os.fork() == 0:
        try:
            _be_broker(its)
        finally:
            os._exit(1)
    its.close()
    if ours.recv(1) != b"1":
        raise OSError("The broker of isolated sessions did not start.")
    return Broker(ours)


def _be_broker(connection: socket.socket) -> None:
    call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    _close_others(connection.fileno())
    # Functions, for what is ignored would stay ignored in all that is started.
    signal.signal(signal.SIGCHLD, _reap)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    call("unshare", _CLONE_NEWNS)
    call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    connection.send(b"1")
    while True:
        said, fds, _, _ = socket.recv_fds(connection, _MOST, _MOST_DESCRIPTORS)
        if not said:
            return
        _answer(connection, msgspec.json.decode(said, type=_Wanted), fds)


def _answer(connection: socket.socket, wanted: _Wanted, fds: list[int]) -> None:
    numbers = [FIRST_DESCRIPTOR + n for n in range(len(fds))]
    pidfd = -1
    try:
        for fd, number in zip(fds, numbers, strict=True):
            os.dup2(fd, number)
            os.close(fd)
        program = subprocess.Popen(
            wanted.argv,
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            pass_fds=numbers,
            start_new_session=True,
            preexec_fn=partial(_copy_what_changes, wanted.sources),  # noqa: PLW1509  # one thread
        )
        pidfd = os.pidfd_open(program.pid)
        program.returncode = 0  # reaped by the handler
        connection.sendmsg(
            [b"1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pidfd]))]
        )
    except subprocess.SubprocessError:
        connection.send(b"a copy on write cannot be mounted here (a kernel before 5.11?)")
    except OSError as error:
        connection.send(str(error).encode()[:4096])
    finally:
        for number in (*numbers, *((pidfd,) if pidfd >= 0 else ())):
            os.close(number)


def _copy_what_changes(sources: Sequence[Source]) -> None:
    if any(is_copy for _, is_copy in sources):
        call("unshare", _CLONE_NEWNS)
        lay_over(sources)


def _reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def _close_others(kept: int) -> None:
    os.closerange(3, kept)
    os.closerange(kept + 1, 65_536)


def _landlock_version() -> int:
    return system_call(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)


def _enter_domain() -> None:
    """Enter a domain that forbids nothing but to look into processes outside of it.

    Moves between directories are forbidden in every domain, unless a rule allows them.
    """
    ruleset = system_call(_LANDLOCK_CREATE, struct.pack("=Q", _REFER), 8, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "No Landlock domain can be made.")
    top = os.open("/", os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", _REFER, top)
    call("syscall", _LANDLOCK_ADD, ruleset, _PATH_BENEATH, rule, 0)
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("syscall", _LANDLOCK_RESTRICT, ruleset, 0)
    os.close(top)
    os.close(ruleset)
