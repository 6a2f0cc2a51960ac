"""WebSockets: those of execd itself, and those that lead on to a port of the sandbox.

A tunnel does not read frames. Once the request has been let in, bytes go both ways as they are,
so that every extension and every size works that both ends agree on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import h11
from starlette.responses import Response

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER
from opensandbox_jupyter.execd.errors import error_response
from opensandbox_jupyter.hosting.heads import HeadGuard

__all__ = ["PROXY_PREFIX", "Door", "make_door", "own_socket"]

PROXY_PREFIX = b"/proxy/"
_OURS = EXECD_TOKEN_HEADER.lower().encode()
_BUFFER = 256 * 1024
_Headers = list[tuple[bytes, bytes]]


def own_socket(**options: Any) -> asyncio.Protocol:
    """Return the protocol of execd's own WebSockets; what it needs is loaded at the first one."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    return WebSocketsSansIOProtocol(**options)


class Door(HeadGuard):
    """One connection, which may become a tunnel.

    ``refusal`` says why a request with such headers and target is not let in.
    """

    @staticmethod
    def refusal(headers: _Headers, target: bytes) -> Response | None:
        """Refuse everything, until :func:`make_door` knows better."""
        return error_response(401, "UNAUTHORIZED", "Nobody is let in.")

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Open a tunnel when the request is for a port, else speak WebSocket."""
        if not event.target.startswith(PROXY_PREFIX):
            super().handle_websocket_upgrade(event)
            return
        self.connections.discard(self)
        tunnel = Tunnel(self.transport)
        self.transport.set_protocol(tunnel)
        refused = self.refusal(self.headers, event.target)
        number, _, rest = event.target.removeprefix(PROXY_PREFIX).partition(b"/")
        port = int(number) if number.isdigit() and len(number) < 6 else 0
        if not refused and not 0 < port < 65536:
            refused = error_response(400, "INVALID_REQUEST_BODY", "The path names no port.")
        if refused:
            tunnel.refuse(refused)
        else:
            head = [event.method, b" /", rest, b" HTTP/1.1\r\n"]
            for name, value in event.headers.raw_items():
                if name.lower() != _OURS:
                    head += [name, b": ", value, b"\r\n"]
            tunnel.lead_to(port, b"".join([*head, b"\r\n", self.conn.trailing_data[0]]))


def make_door(refusal: Callable[[_Headers, bytes], Response | None]) -> type[Door]:
    """Return the protocol of connections, with ``refusal`` before all tunnels."""
    return type("Door", (Door,), {"refusal": staticmethod(refusal)})


class Tunnel(asyncio.Protocol):
    """One end of two; it reads only as fast as the other end writes."""

    def __init__(self, transport: asyncio.Transport | None = None) -> None:
        self._transport = transport
        self._peer: Tunnel | None = None
        self._opening: asyncio.Task[None] | None = None

    def refuse(self, response: Response) -> None:
        """Answer and hang up."""
        assert self._transport is not None
        body = bytes(response.body)
        head = b"HTTP/1.1 %d Refused\r\nconnection: close\r\n" % response.status_code
        head += b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
        self._transport.write(head + b"\r\n" + body)
        self._transport.close()

    def lead_to(self, port: int, head: bytes) -> None:
        """Connect to ``port``, and send it ``head`` and all that follows."""
        assert self._transport is not None
        self._transport.pause_reading()
        self._opening = asyncio.ensure_future(self._open(port, head))

    async def _open(self, port: int, head: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, other = await loop.create_connection(Tunnel, "127.0.0.1", port)
        except OSError as exc:
            message = f"Nothing useful came from port {port}: {exc}"
            self.refuse(error_response(502, "BAD_GATEWAY", message))
            return
        assert self._transport is not None
        assert other._transport is not None
        self._peer, other._peer = other, self
        if self._transport.is_closing():
            other._transport.close()
            return
        other._transport.write(head)
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
        if self._opening is not None:
            self._opening.cancel()
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.close()
