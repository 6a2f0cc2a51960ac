"""WebSockets that only pass through: the opening is judged and sent on, then bytes are carried.

A tunnel does not read frames: messages, sub-protocols, extensions and close codes are the business
of the two ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import h11
from starlette.responses import JSONResponse, Response

from opensandbox_jupyter.hosting.exchange import Headers
from opensandbox_jupyter.hosting.heads import HeadGuard

__all__ = ["Closed", "Door", "Opening", "Way", "door"]

_BUFFER = 256 * 1024


class Closed(Exception):
    """An opening that is not let in, and the answer that says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


@dataclass(frozen=True)
class Opening:
    """A request to become a WebSocket. Names of ``headers`` are lower-case."""

    target: bytes
    headers: Headers
    client: str
    """The address that asks."""


@dataclass(frozen=True)
class Way:
    """Where an opening leads: ``target`` and ``headers`` are what the other server is asked."""

    connect: Callable[[Callable[[], End]], Awaitable[tuple[asyncio.BaseTransport, End]]]
    target: bytes
    headers: Headers
    unreached: str = "Nobody answers there"
    """What to say when nobody takes the connection."""


Lead = Callable[[Opening], Way | None]


class Door(HeadGuard):
    """One connection, which may become a tunnel."""

    @staticmethod
    def lead(opening: Opening) -> Way | None:
        """Return the way of an opening, or ``None`` for one that this program answers itself.

        Raises:
            Closed: it is not let in.
        """
        return None

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Open a tunnel when there is a way, else speak WebSocket."""
        end = End(self.transport, self.connections)
        client = str(self.client[0]) if self.client else ""
        try:
            way = self.lead(Opening(event.target, list(event.headers), client))
        except Closed as closed:
            end.refuse(closed.response)
            return
        if way is None:
            super().handle_websocket_upgrade(event)
            return
        self.connections.discard(self)
        self.connections.add(cast(Any, end))
        self.transport.set_protocol(end)
        end.follow(way, self.conn.trailing_data[0])


def door(lead: Lead) -> type[Door]:
    """Return the protocol of a program's connections, with ``lead`` for its WebSockets."""
    return type("_Door", (Door,), {"lead": staticmethod(lead)})


class End(asyncio.Protocol):
    """One end of two; it reads only as fast as the other end writes."""

    def __init__(
        self, transport: asyncio.Transport | None = None, connections: set[Any] | None = None
    ) -> None:
        self._transport = transport
        self._connections = connections
        self._peer: End | None = None
        self._opening: asyncio.Task[None] | None = None

    def refuse(self, response: Response) -> None:
        """Answer and hang up."""
        assert self._transport is not None
        head = b"HTTP/1.1 %d Refused\r\nconnection: close\r\n" % response.status_code
        head += b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
        self._transport.write(head + b"\r\n" + bytes(response.body))
        self._transport.close()

    def follow(self, way: Way, early: bytes) -> None:
        """Send the other end its opening, ``early`` and all that comes."""
        assert self._transport is not None
        self._transport.pause_reading()
        self._opening = asyncio.ensure_future(self._open(way, early))

    async def _open(self, way: Way, early: bytes) -> None:
        try:
            _, other = await way.connect(End)
        except OSError as error:
            body = {"code": "BACKEND_CONNECTION_FAILED", "message": f"{way.unreached}: {error}"}
            self.refuse(JSONResponse(body, 502))
            return
        assert self._transport is not None
        assert other._transport is not None
        self._peer, other._peer = other, self
        if self._transport.is_closing():
            other._transport.close()
            return
        lines = [b"GET " + way.target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in way.headers]
        other._transport.write(b"\r\n".join([*lines, b"", early]))
        self._transport.set_write_buffer_limits(high=_BUFFER)
        self._transport.resume_reading()
        other._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_BUFFER)
        self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.write(data)

    def pause_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connections is not None:
            self._connections.discard(self)
        if self._opening is not None:
            self._opening.cancel()
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.close()

    def shutdown(self) -> None:
        """End it; called when the program stops."""
        if self._transport is not None:
            self._transport.abort()
