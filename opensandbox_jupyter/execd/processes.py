"""Processes: starting one in a session of its own, noticing its end, ending all that it started."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import psutil

from opensandbox_jupyter.execd.errors import Refusal, bad_request

__all__ = ["Process", "User", "describe", "family", "is_own", "send", "terminate"]

GRACE = 3.0
"""Seconds between the request to end and the end."""

_GIVE_UP = 5.0
_STEP = 0.02
_CAP_SETGID, _CAP_SETUID = 6, 7
_own: set[int] = set()
_DEAD = frozenset({b"Z", b"X", b"x"})


class User:
    """Who a command runs as: ``uid`` and ``gid``, ``None`` for the daemon's own."""

    def __init__(self, uid: int | None, gid: int | None) -> None:
        if gid is not None and uid is None:
            raise bad_request("gid needs uid.")
        same_uid = uid is None or uid == os.geteuid()
        same_gid = gid is None or gid == os.getegid()
        self.uid = None if same_uid and same_gid else uid
        self.gid = None if same_uid and same_gid else gid if gid is not None else uid
        if self.uid is not None and not _may_switch():
            raise bad_request(f"This sandbox cannot run a command as uid {uid}, gid {self.gid}.")


def _may_switch() -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        line = next((line for line in file if line.startswith("CapEff:")), "CapEff: 0")
    held = int(line.split()[1], 16)
    return bool(held >> _CAP_SETUID & 1 and held >> _CAP_SETGID & 1)


class Process:
    """A running process that leads a session and a group of its own.

    Args:
        on_exit: called in the loop with the exit code, once; minus the signal if one ended it.
        stdin: what it reads; nothing, usually.
        keep: more descriptors that it inherits, under the numbers that they have here.

    Raises:
        OSError: when it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        stdout: int,
        stderr: int,
        user: User,
        on_exit: Callable[[int], None],
        stdin: int = subprocess.DEVNULL,
        keep: Sequence[int] = (),
    ) -> None:
        self._popen = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=keep,
            start_new_session=True,
            user=user.uid,
            group=user.gid,
            extra_groups=None if user.uid is None else [],
        )
        self.pid = self._popen.pid
        _own.add(self.pid)
        _offer(self.pid)
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self.exited = asyncio.Event()
        self._watch()

    def kill(self) -> None:
        """End it at once; what it has started goes on."""
        if not self.exited.is_set():
            self._popen.kill()

    def _watch(self) -> None:
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            threading.Thread(target=self._wait, daemon=True).start()
        else:
            self._loop.add_reader(fd, self._ended, fd)

    def _wait(self) -> None:
        self._popen.wait()
        self._loop.call_soon_threadsafe(self._ended, None)

    def _ended(self, fd: int | None) -> None:
        if fd is not None:
            self._loop.remove_reader(fd)
            os.close(fd)
        _own.discard(self.pid)
        self.exited.set()
        self._on_exit(self._popen.wait())


def _offer(pid: int) -> None:
    """When the memory is full, let the kernel end what a person started, and not the daemon."""
    with suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"1000")


def is_own(pid: int) -> bool:
    """Whether ``pid`` was started here, and so will be waited for here."""
    return pid in _own


def describe(returncode: int) -> tuple[int, str]:
    """Return a command's exit code, -1 for a signal, and the sentence that goes with it."""
    if returncode >= 0:
        return returncode, f"exit status {returncode}"
    name = signal.strsignal(-returncode) or f"signal {-returncode}"
    return -1, f"signal: {name.lower()}"


async def terminate(process: Process, grace: float = GRACE) -> None:
    """End ``process`` and all that it started: ask, wait for up to ``grace`` seconds, then kill.

    Members of its session are found, and descendants in sessions of their own.

    Raises:
        Refusal: 500 when something is still there after that.
    """
    found = await asyncio.to_thread(family, process.pid, set())
    now = time.monotonic()
    if grace > 0:
        send(found, signal.SIGTERM)
        send(found, signal.SIGCONT)
        found = await _gone_by(process, found, now + grace)
    give_up = now + grace + _GIVE_UP
    while found and time.monotonic() < give_up:
        send(found, signal.SIGKILL)
        found = await _gone_by(process, found, time.monotonic() + 5 * _STEP)
    if found:
        raise Refusal(500, "RUNTIME_ERROR", f"{len(found)} processes could not be ended.")


async def _gone_by(
    process: Process, found: set[psutil.Process], deadline: float
) -> set[psutil.Process]:
    """Wait until all is gone or ``deadline`` has passed; return what is left, new ones too."""
    while True:
        found = await asyncio.to_thread(family, process.pid, found)
        if not found or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(_STEP)


def family(leader: int, known: set[psutil.Process]) -> set[psutil.Process]:
    """Return what lives of ``known``, of the leader's session, and of the descendants of both."""
    parents: dict[int, int] = {}
    members = {process.pid for process in known if process.is_running()} | {leader}
    for pid in psutil.pids():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                state, parent, _, session = file.read().rpartition(b")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if state not in _DEAD:
            parents[pid] = int(parent)
            if int(session) == leader:
                members.add(pid)
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in members} - members
        members |= children
        grown = bool(children)
    return {process for pid in members & parents.keys() if (process := _process(pid)) is not None}


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to all that still live; a process that has taken a pid over gets none."""
    # Older ones first, mostly parents: none shall go on because its child has ended.
    for process in sorted(processes, key=lambda process: process.pid):
        try:
            process.send_signal(number)
        except (psutil.Error, OSError):
            continue
