"""A WebSocket for the async SDK, over ``websockets``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from opensandbox_jupyter.transport._sockets import address, options, refused, without_redirects
from opensandbox_jupyter.wire.base import Call

__all__ = ["Socket", "open_socket"]


class Socket:
    """Messages, both ways. A caller that does not read slows the other side down."""

    def __init__(self, call: Call, connection: ClientConnection) -> None:
        self._call, self._connection = call, connection

    @property
    def close_code(self) -> int | None:
        """Why the other side closed it; ``None`` while it is open."""
        return self._connection.close_code

    async def receive(self) -> str | bytes | None:
        """Return the next message, ``None`` when there will be none."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as cause:
            if cause.rcvd is None:
                raise refused(self._call, cause) from cause
            return None

    async def send(self, message: str | bytes) -> None:
        """Send a message."""
        try:
            await self._connection.send(message)
        except ConnectionClosed as cause:
            raise refused(self._call, cause) from cause

    async def ping(self, timeout: float) -> bool:
        """Return whether the other side answers within so many seconds."""
        try:
            await asyncio.wait_for(await self._connection.ping(), timeout)
        except (asyncio.TimeoutError, ConnectionClosed):
            return False
        return True

    async def close(self) -> None:
        """Close it."""
        await self._connection.close()


async def open_socket(
    call: Call, headers: Mapping[str, str], timeout: float, *, embedded: bool
) -> Socket:
    """Open a WebSocket.

    Raises:
        SandboxApiException: when the server refuses it.
        SandboxConnectionException: when it is not reached.
    """
    try:
        opening = connect(address(call), **options(call, headers, timeout, embedded=embedded))
        connection = await without_redirects(opening)
    except (ImportError, OSError, WebSocketException, asyncio.TimeoutError) as cause:
        error = refused(call, cause, headers)
        raise error from error.cause
    return Socket(call, connection)
