"""The blocking HTTP/1.1 client: plain sockets, read by ``httptools``."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from opensandbox_jupyter.transport.answer import Answer, Body
from opensandbox_jupyter.transport.failures import (
    BadAddress,
    Broken,
    Failure,
    TooSlow,
    Unreachable,
)
from opensandbox_jupyter.transport.pool import MAX_CONNECTIONS, Idle, is_quiet, tls_context, watch
from opensandbox_jupyter.transport.request import Door, Request, RequestWriter, Upload, at_hand
from opensandbox_jupyter.wire.base import Call, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

__all__ = ["Client"]

_READ = 64 * 1024
_SMALL = 64 * 1024


class _Refused(Broken):
    """The server takes no more of a request; it may have answered."""


class _Link:
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

    def send(self, request: Request, timeout: float, *, streamed: bool) -> None:
        """Send a request and read the head of its answer, or all of it if it is not streamed."""
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
            self.read()

    def read(self) -> None:
        """Read a little more of the answer."""
        with _reading():
            data = self._sock.recv(_READ)
        if data:
            self.answer.feed(data)
        else:
            self.answer.end()

    def receive(self, body: Body, timeout: float) -> None:
        """Read the rest of an answer to where it will stay."""
        self._wait(timeout)
        while not body.full:
            with _reading(), body.room() as room:
                body.took(count := self._sock.recv_into(room))
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
            raise TooSlow(cause) from cause
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


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except TimeoutError as cause:
        raise TooSlow(cause) from cause
    except OSError as cause:
        raise Broken(cause) from cause


class Stream:
    """An answer that is read while it comes."""

    def __init__(self, client: Client, request: Request, link: _Link) -> None:
        self.status = link.answer.status
        self.headers = link.answer.headers
        self._client, self._request, self._link = client, request, link

    def chunks(self) -> Iterator[bytes]:
        """Give the body as it comes."""
        link, answer = self._link, self._link.answer
        while True:
            if answer.pieces:
                yield answer.take()
            elif answer.done:
                return
            else:
                link.read()

    def whole(self, timeout: float) -> bytes | None:
        """Return the body if its length is known; nothing of it was read before."""
        body = self._link.answer.past_parser()
        if body is None:
            return None
        self._link.receive(body, timeout)
        return body.value()

    def finish(self, bound: float) -> None:
        """Read the answer's end if it is about to come, so that the connection can go on."""
        self._link.answer.pieces.clear()
        self._link.finish(bound)

    def close(self) -> None:
        """Give the connection back, or close it when the answer was not read to its end."""
        self._client.give_back(self._request, self._link)


class Client:
    """Sends requests and reads answers. May be shared by threads."""

    def __init__(self, headers: Mapping[str, str], timeout: float) -> None:
        self._writer = RequestWriter(headers)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._idle: Idle[_Link] = Idle()
        self._busy: set[_Link] = set()
        self._tls: SSLContext | None = None
        self._closed = False

    def fetch(self, call: Call) -> Reply:
        """Send ``call`` and return its whole answer."""
        request = self._writer.write(call)
        link = self._send(request, streamed=False)
        answer = link.answer
        reply = Reply(answer.status, answer.headers, answer.take())
        self.give_back(request, link)
        return reply

    def stream(self, call: Call) -> Stream:
        """Send ``call`` and return its answer as soon as its head has come."""
        request = self._writer.write(call)
        return Stream(self, request, self._send(request, streamed=True))

    def close(self) -> None:
        """Close all connections, also those in use."""
        with self._lock:
            self._closed = True
            idle, busy = list(self._idle.empty()), list(self._busy)
        for link in idle:
            link.drop()
        for link in busy:
            link.hang_up()

    def give_back(self, request: Request, link: _Link) -> None:
        """Keep a connection for the next request, or close it if it cannot carry one."""
        link.used = True
        with self._lock:
            self._busy.discard(link)
            keep = link.whole and link.answer.reusable and not self._closed
            if keep:
                self._idle.put(request.door, link)
        if not keep:
            link.drop()
        self._room.release()

    def _send(self, request: Request, *, streamed: bool) -> _Link:
        fresh = False
        while True:
            link = self._link(request.door, fresh=fresh)
            reused = link.used
            try:
                link.send(request, self._timeout, streamed=streamed)
                return link
            except BaseException as error:
                if isinstance(error, Failure):
                    error.headers = link.answer.headers
                link.answer.reusable = False
                self.give_back(request, link)
                closed_while_idle = reused and link.answer.silent and isinstance(error, Broken)
                if not (closed_while_idle and request.may_repeat(sent=link.sent)):
                    raise
            fresh = True

    def _link(self, door: Door, *, fresh: bool) -> _Link:
        if not self._room.acquire(timeout=self._timeout):
            raise TooSlow("too many requests at once")
        try:
            with self._lock:
                if self._closed:
                    raise Broken("it was closed by close()")
                link = None if fresh else self._idle.take(door)
                if link is not None:
                    self._busy.add(link)
                    return link
            link = _Link(self._connect(door))
            with self._lock:
                self._busy.add(link)
            return link
        except BaseException:
            self._room.release()
            raise

    def _connect(self, door: Door) -> socket.socket:
        try:
            sock = socket.create_connection((door.host, door.port), self._timeout)
        except UnicodeError as cause:
            raise BadAddress(cause) from cause
        except OSError as cause:
            raise Unreachable(cause) from cause
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not door.secure:
            return sock
        try:
            with self._lock:
                self._tls = self._tls or tls_context()
            return self._tls.wrap_socket(sock, server_hostname=door.host)
        except OSError as cause:
            sock.close()
            raise Unreachable(cause) from cause
        except BaseException:
            sock.close()
            raise
