"""Isolated sessions that are open: each is a bubblewrap with a small daemon like this one in it.

That daemon alone runs code and touches files for the session, so that it sees what the session
sees, and no link leads it anywhere else.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

import msgspec

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER, NESTING_EXTENSION
from opensandbox_jupyter.execd.broker import FIRST_DESCRIPTOR, Broker
from opensandbox_jupyter.execd.errors import Refusal
from opensandbox_jupyter.execd.settings import Settings
from opensandbox_jupyter.execd.walls import SessionRequest, options

__all__ = ["Enclosure", "Enclosures"]

_MOST = 32
_MOST_ANSWER = 64 * 1024
_START_SECONDS = 15.0
_END_SECONDS = 5.0
_START = """\
import sys; sys.path.insert(0, {!r}); from opensandbox_jupyter.execd.__main__ import main; main()
"""
_OPTIONS, _FILTER, _CONFIG, _LISTENER = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + 4)


class Enclosure:
    """One session. ``pidfd`` is bubblewrap's, ``door`` the socket of the daemon inside."""

    def __init__(self, session_id: str, wanted: SessionRequest, pidfd: int, door: int) -> None:
        self.id = session_id
        self.wanted = wanted
        self.token = secrets.token_hex(32)
        self.created_at = self.last_run_at = time.time()
        self.ended = asyncio.Event()
        self.active = 0
        self._used = time.monotonic()
        self._pidfd, self._door = pidfd, door
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pidfd, self._has_ended)

    def _has_ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        os.close(self._door)
        self.ended.set()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the daemon inside. Raises: OSError when it has ended."""
        if self.ended.is_set():
            raise ConnectionRefusedError("The session has ended.")
        return await asyncio.open_unix_connection(f"/proc/self/fd/{self._door}", limit=512 * 1024)

    def touch(self) -> None:
        """Begin to count idle time anew."""
        self._used = time.monotonic()

    @property
    def idle_left(self) -> float | None:
        """Seconds until it ends for want of use; ``None`` for never."""
        if not self.wanted.idle_seconds:
            return None
        since = 0.0 if self.active else time.monotonic() - self._used
        return max(0.0, self.wanted.idle_seconds - since)

    async def ask(self, path: str) -> bytes:
        """Return the answer to a GET, or nothing when it is not 200. Raises: OSError."""
        reader, writer = await self.connect()
        try:
            head = f"GET {path} HTTP/1.1\r\nHost: session\r\n{EXECD_TOKEN_HEADER}: {self.token}"
            writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while len(answer) < _MOST_ANSWER and (block := await reader.read(_MOST_ANSWER)):
                answer += block
            head_end = answer.find(b"\r\n\r\n")
            return answer[head_end + 4 :] or b" " if b" 200 " in answer[:16] else b""
        finally:
            writer.close()

    async def end(self) -> None:
        """End everything in it, and wait for that."""
        if not self.ended.is_set():
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            await asyncio.wait_for(self.ended.wait(), _END_SECONDS)

    def summary(self) -> dict[str, object]:
        """Return what the list of sessions says."""
        left = self.idle_left
        found: dict[str, object] = {
            "session_id": self.id,
            "status": "dead" if self.ended.is_set() else "active",
            "created_at": _stamp(self.created_at),
            "last_run_at": _stamp(self.last_run_at),
        }
        return found if left is None else {**found, "idle_remaining_seconds": int(left)}


class Enclosures:
    """All of them. Without a ``broker`` there are none, and :attr:`why_not` says why."""

    def __init__(self, settings: Settings, broker: Broker | None) -> None:
        self._broker = broker
        self.nesting = settings.nesting
        self._open: dict[str, Enclosure] = {}
        self._reapers: set[asyncio.Task[None]] = set()
        self._starting = 0

    @property
    def why_not(self) -> str:
        """Why there can be no session, or an empty string."""
        if self._broker is not None:
            return ""
        return (
            "Isolated sessions need a sandbox that was created with the extension"
            f' {NESTING_EXTENSION}="enable",'
            " bubblewrap 0.6 or newer in /usr, Landlock in the kernel (5.19), and a host where"
            " the server may enter namespaces of its user's."
        )

    async def open(self, wanted: SessionRequest, inside: Callable[[str], Settings]) -> Enclosure:
        """Start a session; ``inside`` makes its daemon's settings from its id.

        Raises:
            Refusal: 503 when this is not possible here, 409 when there are too many, 500.
        """
        if self._broker is None or self.nesting is None:
            raise Refusal(503, "SERVICE_UNAVAILABLE", self.why_not)
        if len(self._open) + self._starting >= _MOST:
            raise Refusal(409, "RUNTIME_ERROR", f"There are {_MOST} sessions; delete one first.")
        self._starting += 1
        try:
            enclosure = await self._start(wanted, inside)
        except (OSError, asyncio.TimeoutError) as error:
            message = f"The session could not be started: {error or 'it did not answer'}."
            raise Refusal(500, "RUNTIME_ERROR", message) from error
        finally:
            self._starting -= 1
        self._open[enclosure.id] = enclosure
        reaper = asyncio.ensure_future(self._reap(enclosure))
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)
        return enclosure

    async def _start(self, wanted: SessionRequest, inside: Callable[[str], Settings]) -> Enclosure:
        assert self._broker is not None and self.nesting is not None
        words = b"".join(
            os.fsencode(word) + b"\0" for word in options(wanted, self.nesting, _FILTER)
        )
        start = _START.format(str(Path(__file__).parents[2]))
        command = [
            *(self.nesting.bwrap, "--args", str(_OPTIONS), "--"),
            *(sys.executable, "-I", "-S", "-B", "-c", start, "--config-fd", str(_CONFIG)),
        ]
        session_id = str(uuid4())
        read, write = os.pipe()
        listener, door = _listen()
        given = [_memory_file(words), _memory_file(self.nesting.filter), read, listener]
        try:
            try:
                pidfd = await asyncio.to_thread(self._broker.start, command, given, wanted.sources)
            except BaseException:
                os.close(door)
                raise
            enclosure = Enclosure(session_id, wanted, pidfd, door)
            settings = msgspec.structs.replace(
                inside(session_id), token=enclosure.token, listen_fd=_LISTENER
            )
            await asyncio.to_thread(_write_all, write, msgspec.json.encode(settings))
        finally:
            for fd in (*given, write):
                os.close(fd)
        try:
            await asyncio.wait_for(_until_ready(enclosure), _START_SECONDS)
        except BaseException:
            await enclosure.end()
            raise
        return enclosure

    async def _reap(self, enclosure: Enclosure) -> None:
        """End a session that nobody has used for long enough, and in which nothing runs."""
        while not enclosure.ended.is_set() and (left := enclosure.idle_left) is not None:
            if left > 0:
                await asyncio.sleep(left)
            elif await _is_busy(enclosure):
                enclosure.touch()
            elif enclosure.idle_left == 0:  # nobody came meanwhile
                await self.delete(enclosure.id)
                return

    def find(self, session_id: str) -> Enclosure:
        """Return a session. Raises: Refusal 404."""
        enclosure = self._open.get(session_id)
        if enclosure is None:
            raise Refusal(404, "NOT_FOUND", f"There is no session {session_id[:64]}.")
        return enclosure

    def all(self) -> list[Enclosure]:
        """Return all of them, the oldest first."""
        return list(self._open.values())

    async def delete(self, session_id: str) -> None:
        """End a session. Raises: Refusal 404."""
        enclosure = self.find(session_id)
        del self._open[session_id]
        await enclosure.end()

    async def close(self) -> None:
        """End all of them."""
        for reaper in self._reapers:
            reaper.cancel()
        for enclosure in self.all():
            await enclosure.end()


async def _until_ready(enclosure: Enclosure) -> None:
    asking = asyncio.ensure_future(enclosure.ask("/ping"))
    ended = asyncio.ensure_future(enclosure.ended.wait())
    try:
        await asyncio.wait((asking, ended), return_when=asyncio.FIRST_COMPLETED)
        if not asking.done() or not asking.result():
            raise ConnectionResetError("bubblewrap or the daemon inside ended")
    finally:
        asking.cancel()
        ended.cancel()


async def _is_busy(enclosure: Enclosure) -> bool:
    """Return whether anything runs in it, or it is too slow to say."""
    try:
        answer = await asyncio.wait_for(enclosure.ask("/runs"), _END_SECONDS)
        return bool(msgspec.json.decode(answer)["running"])
    except asyncio.TimeoutError:
        return True
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return False


def _listen() -> tuple[int, int]:
    """Return a listening socket, and a descriptor of its place, to which no path leads."""
    with tempfile.TemporaryDirectory(prefix="execd-") as place:
        path = os.path.join(place, "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(128)
            door = os.open(path, os.O_PATH | os.O_CLOEXEC)
            return listener.detach(), door


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("session")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
