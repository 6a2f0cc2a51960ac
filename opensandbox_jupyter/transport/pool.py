"""Connections that wait for their next request."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from opensandbox_jupyter.transport.request import Door

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["MAX_CONNECTIONS", "Idle", "is_quiet", "keep_alive", "tls_context", "watch"]

MAX_CONNECTIONS = 1000
"""How many connections one client has at most; further requests wait."""

_KEPT = 256
_KEPT_FOR = 30.0
_SIGNS_OF_LIFE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


class _Link(Protocol):
    idle_since: float

    def fit(self) -> bool: ...
    def drop(self) -> None: ...


L = TypeVar("L", bound=_Link)


class Idle(Generic[L]):
    """Idle connections by where they lead, the one used last first. Not locked."""

    def __init__(self) -> None:
        self._links: dict[Door, list[L]] = {}
        self._count = 0

    def take(self, door: Door) -> L | None:
        """Return a connection that the server has not closed meanwhile."""
        links = self._links.get(door)
        while links:
            link = links.pop()
            self._count -= 1
            if time.monotonic() - link.idle_since < _KEPT_FOR and link.fit():
                return link
            link.drop()
        return None

    def put(self, door: Door, link: L) -> None:
        """Keep a connection, and let go of those that have waited for too long."""
        link.idle_since = now = time.monotonic()
        links = self._links.setdefault(door, [])
        links.append(link)
        self._count += 1
        while links and (now - links[0].idle_since >= _KEPT_FOR or self._count > _KEPT):
            links.pop(0).drop()
            self._count -= 1

    def empty(self) -> Iterator[L]:
        """Give all connections away."""
        kept, self._links, self._count = self._links, {}, 0
        for links in kept.values():
            yield from links


def is_quiet(poll: select.poll) -> bool:
    """Return whether an idle socket has nothing to say; what it could say is that it is closed."""
    return not poll.poll(0)


def watch(descriptor: int) -> select.poll:
    """Return what :func:`is_quiet` asks."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP | select.POLLERR)
    return poll


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel notice within 35 s that the other side is gone and nobody said so.

    A stream of events has no time limit: without this, one whose network has gone waits for ever.
    """
    with suppress(OSError, TypeError):  # an event loop of the user's own may not let us
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _SIGNS_OF_LIFE.items():
            if (option := getattr(socket, name, None)) is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def tls_context() -> SSLContext:
    """Return the settings of https: certificates are verified, with httpx's defaults."""
    import httpx

    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
