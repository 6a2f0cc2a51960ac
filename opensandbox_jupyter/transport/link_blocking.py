"""One blocking connection: a plain socket, read by ``httptools``."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from opensandbox_jupyter.retry import RetryCause
from opensandbox_jupyter.transport.answer import DRIPS, Answer, Body
from opensandbox_jupyter.transport.failures import Broken, Failure, TooSlow
from opensandbox_jupyter.transport.pool import is_quiet, watch
from opensandbox_jupyter.transport.request import Request, Upload, at_hand

__all__ = ["Link", "left_until"]

S = TypeVar("S")
T = TypeVar("T")

_READ = 64 * 1024
_SMALL = 64 * 1024


class _Refused(Broken):
    """The server takes no more of a request; it may have answered."""


class Link:
    """One connection. Used by one thread at a time; any thread may :meth:`hang_up`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._plain = type(sock) is socket.socket  # TLS is also readable for its own affairs
        self._timeout: float | None = sock.gettimeout()
        self._poll = watch(sock.fileno())
        self.idle_since = 0.0
        self.used = False
        self.sent = False
        self.whole = False
        self.answer = Answer(streamed=False)

    def fit(self) -> bool:
        """Return whether another request may be sent."""
        return self._sock.fileno() >= 0 and is_quiet(self._poll)

    def drop(self) -> None:
        """Close the connection."""
        self._sock.close()

    def hang_up(self) -> None:
        """End the connection under a thread that uses it, which then closes it."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def send(
        self, request: Request, timeout: float, *, streamed: bool, end: float | None = None
    ) -> None:
        """Send a request and read the head of its answer, or all of it if it is not streamed.

        ``end`` is when all of it must have come, however steadily it drips.
        """
        self.answer = answer = Answer(streamed=streamed)
        small = len(request.head) <= _SMALL
        patience = request.patience if streamed else timeout
        self.sent, self.whole = not small, False
        self._wait(patience if small else timeout)
        try:
            self._push(request.head)
            self.sent = True
            self.whole = request.upload is None or self._upload(request.upload)
        except _Refused:
            if not self._has_spoken():
                raise
        self._wait(patience)
        while not (answer.headed if streamed else answer.done):
            if end is not None:
                self._wait(left_until(end, timeout))
            self.read()
            if end is None and not streamed and not answer.done:
                end = time.monotonic() + DRIPS * timeout

    def read(self) -> None:
        """Read a little more of the answer."""
        if data := _received(self._sock.recv, _READ):
            self.answer.feed(data)
        else:
            self.answer.end()

    def receive(self, body: Body, timeout: float) -> None:
        """Read the rest of an answer to where it will stay."""
        self._wait(timeout)
        while not body.full:
            with body.room() as room:
                count = _received(self._sock.recv_into, room)
            body.took(count)
            if not count:
                self.answer.end()
        self.answer.complete()

    def finish(self, bound: float) -> None:
        """Read the rest of the answer if it comes within ``bound`` seconds."""
        end = time.monotonic() + bound
        with suppress(Failure):
            while not self.answer.done and (left := end - time.monotonic()) > 0:
                self._wait(left)
                self.read()
                self.answer.pieces.clear()

    def _upload(self, upload: Upload) -> bool:
        """Send an upload; stop when the server answers before its end."""
        for piece in upload.pieces():
            if self._plain and not is_quiet(self._poll):
                return False
            self._push(upload.framed(at_hand(piece)))
        self._push(upload.tail)
        return True

    def _push(self, data: bytes | memoryview) -> None:
        try:
            self._sock.sendall(data)
        except TimeoutError as cause:
            raise TooSlow(cause, RetryCause.WRITE_TIMEOUT) from cause
        except OSError as cause:
            raise _Refused(cause) from cause

    def _has_spoken(self) -> bool:
        """Return whether a server that refused the rest of a request left an answer behind."""
        with suppress(Failure):
            self.read()
        return not self.answer.silent

    def _wait(self, timeout: float | None) -> None:
        if timeout != self._timeout:
            self._timeout = timeout
            with suppress(OSError):  # dropped meanwhile: the next step says so
                self._sock.settimeout(timeout)


def left_until(end: float, most: float) -> float:
    """Return how long to wait at most, to be done by ``end``."""
    left = end - time.monotonic()
    if left <= 0:
        raise TooSlow("the answer dripped")
    return min(left, most)


def _received(receive: Callable[[S], T], where: S) -> T:
    try:
        return receive(where)
    except TimeoutError as cause:
        raise TooSlow(cause) from cause
    except OSError as cause:
        raise Broken(cause) from cause
