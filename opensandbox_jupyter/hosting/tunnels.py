"""WebSockets that only pass through: the opening is judged and sent on, then bytes are carried.

Messages, sub-protocols, extensions and close codes are the business of the two ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import h11

from opensandbox_jupyter.hosting.exchange import BLOCK, Headers

__all__ = ["Closed", "Opening", "Way", "head", "tunnels"]

_BUFFER = 1 << 20
Way = tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]
"""An open connection, and the head with which it shall begin."""


class Closed(Exception):
    """An opening that is refused with an HTTP status, a code and one sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Opening:
    """A request to become a WebSocket: ``target`` and ``headers``, as they were sent."""

    def __init__(self, target: bytes, headers: Headers, client: str) -> None:
        self.target = target
        self.headers = headers
        self.client = client


def head(target: bytes, headers: Headers) -> bytes:
    """Return the bytes of an opening."""
    lines = [b"GET " + target + b" HTTP/1.1", *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])


def tunnels(lead: Callable[[Opening], Awaitable[Way]]) -> type[asyncio.Protocol]:
    """Return the class that uvicorn hands its WebSockets to; ``lead`` finds each one's way."""
    return type("Tunnel", (_Tunnel,), {"_lead": staticmethod(lead)})


class _Tunnel(asyncio.Protocol):
    _lead: Callable[[Opening], Awaitable[Way]]

    def __init__(self, config: Any, server_state: Any, app_state: Any) -> None:
        self._connections: set[Any] = server_state.connections
        self._transport: asyncio.Transport | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._can_write = asyncio.Event()
        self._can_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._task is None:
            self._transport.pause_reading()
            self._task = asyncio.get_running_loop().create_task(self._run(data))
        elif self._writer is None:
            self._early += data
        else:
            self._writer.write(data)
            if self._writer.transport.get_write_buffer_size() > _BUFFER:
                self._transport.pause_reading()
                self._drain = asyncio.get_running_loop().create_task(self._go_on(self._writer))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._can_write.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def shutdown(self) -> None:
        """End it; called when the server stops."""
        if self._transport is not None:
            self._transport.abort()

    async def _run(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            reader, self._writer, first = await self._lead(_read(data, self._transport))
            self._writer.write(first + bytes(self._early))
            self._transport.resume_reading()
            while block := await reader.read(BLOCK):
                self._transport.write(block)
                await self._can_write.wait()
        except Closed as refusal:
            self._refuse(refusal)
        except (OSError, h11.ProtocolError):
            self._refuse(Closed(502, "BACKEND_CONNECTION_FAILED", "Nobody answers there."))
        finally:
            if self._writer is not None:
                self._writer.close()
            self._transport.close()

    async def _go_on(self, writer: asyncio.StreamWriter) -> None:
        assert self._transport is not None
        try:
            await writer.drain()
            self._transport.resume_reading()
        except (OSError, RuntimeError):
            self._transport.abort()

    def _refuse(self, refusal: Closed) -> None:
        assert self._transport is not None
        if self._writer is not None:
            return
        body = json.dumps({"code": refusal.code, "message": str(refusal)}).encode()
        self._transport.write(
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n".encode()
            + body
        )


def _read(data: bytes, transport: asyncio.Transport) -> Opening:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(data)
    event = parser.next_event()
    if not isinstance(event, h11.Request) or event.method != b"GET":
        raise Closed(405, "SANDBOX::API_NOT_SUPPORTED", "A WebSocket is opened by GET.")
    peer = transport.get_extra_info("peername")
    client = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    return Opening(event.target, list(event.headers), client)
