"""Carries bytes between a loopback port and a unix socket: the way into a sandbox, and out of it.

A sandbox never gets a TCP socket of the host in hand: it could turn it against the host.
"""

from __future__ import annotations

import asyncio
from typing import cast

__all__ = ["Relay"]

_BUFFER = 1 << 20


class Relay:
    """A port on 127.0.0.1 that leads to one unix socket.

    Args:
        socket_path: where that socket is.
        port: the port; 0 for a free one.
        most: connections at once; one more is cut. ``None`` for no limit.
    """

    def __init__(self, socket_path: str, *, port: int = 0, most: int | None = None) -> None:
        self.socket_path = socket_path
        self._port = port
        self._most = most
        self._server: asyncio.Server | None = None
        self._ends: set[_End] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_open = True
        """While false, new connections are refused."""

    async def start(self) -> int:
        """Begin to listen and return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", self._port, backlog=512)
        return int(self._server.sockets[0].getsockname()[1])

    def _accept(self) -> _End:
        return _End(self, is_client=True)

    def connected(self, client: _End) -> None:
        """Lead a new connection on to the socket; called by the connection."""
        is_full = self._most is not None and len(self._ends) >= 2 * self._most
        self._ends.add(client)
        if is_full or not self.is_open:
            client.abort()
            return
        task = asyncio.get_running_loop().create_task(self._lead_on(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead_on(self, client: _End) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, inside = await loop.create_unix_connection(
                lambda: _End(self, is_client=False), self.socket_path
            )
        except OSError:
            client.abort()
            return
        self._ends.add(inside)
        inside.join(client)
        client.join(inside)

    def forget(self, end: _End) -> None:
        """Drop a connection that ended; called by the connection."""
        self._ends.discard(end)

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for end in list(self._ends):
            end.abort()
        await asyncio.sleep(0)


class _End(asyncio.Protocol):
    """One end of a relayed connection. It reads only as fast as the other end writes."""

    def __init__(self, relay: Relay, *, is_client: bool) -> None:
        self._relay = relay
        self._is_client = is_client
        self._transport: asyncio.Transport | None = None
        self._peer: _End | None = None
        self._is_lost = False
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_BUFFER)
        self._transport.pause_reading()
        if self._is_client:
            self._relay.connected(self)

    def join(self, peer: _End) -> None:
        """Begin to carry bytes to ``peer``."""
        self._peer = peer
        for data in self._early:
            self.data_received(data)
        self._early.clear()
        if self._is_lost:
            peer.finish()
        elif self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._peer is None:  # Python 3.10 reads once although it was told to pause
            self._early.append(data)
        elif self._peer._transport is not None:
            self._peer._transport.write(data)

    def eof_received(self) -> bool:
        """A client may have said all and still listen; an execd that hangs up is done."""
        if not self._is_client or self._peer is None or self._peer._transport is None:
            return False
        if not self._peer._transport.is_closing():
            self._peer._transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._relay.forget(self)
        if self._peer is not None:
            self._peer.finish()
            self._peer = None

    def finish(self) -> None:
        """Send what is still waiting, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
