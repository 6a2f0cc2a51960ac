"""The blocking HTTP/1.1 client: plain sockets, read by ``httptools``."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from opensandbox_jupyter.retry import RetryCause
from opensandbox_jupyter.transport.failures import (
    BadAddress,
    Broken,
    Failure,
    TooSlow,
    Unreachable,
    Unusable,
)
from opensandbox_jupyter.transport.link_blocking import Link, left_until
from opensandbox_jupyter.transport.pool import MAX_CONNECTIONS, Idle, keep_alive, tls_context
from opensandbox_jupyter.transport.request import Door, Request, RequestWriter
from opensandbox_jupyter.wire.base import Call, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext

__all__ = ["Client"]


class Stream:
    """An answer that is read while it comes."""

    def __init__(self, client: Client, request: Request, link: Link) -> None:
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
        self._idle: Idle[Link] = Idle()
        self._busy: set[Link] = set()
        self._tls: SSLContext | None = None
        self._closed = False

    def fetch(self, call: Call, within: float | None = None) -> Reply:
        """Send ``call`` and return its whole answer, ``within`` so many seconds."""
        request = self._writer.write(call)
        link = self._send(request, streamed=False, within=within)
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

    def give_back(self, request: Request, link: Link) -> None:
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

    def _send(self, request: Request, *, streamed: bool, within: float | None = None) -> Link:
        fresh = False
        end = None if within is None else time.monotonic() + within
        while True:
            timeout = self._timeout if end is None else left_until(end, self._timeout)
            link = self._link(request.door, timeout, fresh=fresh)
            reused = link.used
            try:
                link.send(request, timeout, streamed=streamed, end=end)
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

    def _link(self, door: Door, timeout: float, *, fresh: bool) -> Link:
        if not self._room.acquire(timeout=timeout):
            raise TooSlow("too many requests at once", RetryCause.PRE_SEND)
        try:
            with self._lock:
                if self._closed:
                    raise Unusable("it was closed by close()")
                link = None if fresh else self._idle.take(door)
                if link is not None:
                    self._busy.add(link)
                    return link
            link = Link(self._connect(door, timeout))
            with self._lock:
                self._busy.add(link)
            return link
        except BaseException:
            self._room.release()
            raise

    def _connect(self, door: Door, timeout: float) -> socket.socket:
        try:
            sock = socket.create_connection((door.host, door.port), timeout)
        except UnicodeError as cause:
            raise BadAddress(cause) from cause
        except OSError as cause:
            raise Unreachable(cause) from cause
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(sock)
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
