"""A WebSocket for the blocking SDK, over ``websockets``."""

from __future__ import annotations

from collections.abc import Mapping

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync import client

from opensandbox_jupyter.transport._sockets import address, options, refused, without_redirects
from opensandbox_jupyter.wire.base import Call

__all__ = ["Socket", "open_socket"]


_connect = getattr(client, "reconnect", client.connect)  # before 17, connect follows no redirect


class Socket:
    """Messages, both ways. One thread may receive while others send."""

    def __init__(self, call: Call, connection: client.ClientConnection) -> None:
        self._call, self._connection = call, connection

    @property
    def close_code(self) -> int | None:
        """Why the other side closed it; ``None`` while it is open."""
        return self._connection.protocol.close_code

    def receive(self) -> str | bytes | None:
        """Return the next message, ``None`` when there will be none."""
        try:
            return self._connection.recv()
        except ConnectionClosed as cause:
            if cause.rcvd is None:
                raise refused(self._call, cause) from cause
            return None

    def send(self, message: str | bytes) -> None:
        """Send a message."""
        try:
            self._connection.send(message)
        except ConnectionClosed as cause:
            raise refused(self._call, cause) from cause

    def ping(self, timeout: float) -> bool:
        """Return whether the other side answers within so many seconds."""
        try:
            return self._connection.ping().wait(timeout) and self.close_code is None
        except ConnectionClosed:
            return False

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def open_socket(
    call: Call, headers: Mapping[str, str], timeout: float, *, embedded: bool
) -> Socket:
    """Open a WebSocket.

    Raises:
        SandboxApiException: when the server refuses it.
        SandboxConnectionException: when it is not reached.
    """
    try:
        opening = _connect(address(call), **options(call, headers, timeout, embedded=embedded))
        connection = without_redirects(opening).__enter__()
    except (ImportError, OSError, WebSocketException) as cause:
        error = refused(call, cause, headers)
        raise error from error.cause
    return Socket(call, connection)
