"""uvicorn's HTTP/1.1 with what it lacks: a deadline for request heads, and errors in JSON."""

from __future__ import annotations

import asyncio

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["BoundedH11"]

HEAD_DEADLINE = 10.0
"""Seconds in which a request head must be complete."""


class BoundedH11(H11Protocol):
    """A connection on which a head that does not come is not waited for."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop the clock once a head is complete; start it when the next one begins."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_clock()
        elif self._deadline is None and self.conn.trailing_data[0]:
            self._start_clock()

    def _start_clock(self) -> None:
        self._deadline = self.loop.call_later(HEAD_DEADLINE, self.transport.close)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, and hang up."""
        body = msgspec.json.encode({"code": "INVALID_REQUEST_BODY", "message": msg})
        head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
        length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        self.transport.write(head + length + body)
        self.transport.close()
