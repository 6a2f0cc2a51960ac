"""HTTP/1.1 with a deadline for request heads, which uvicorn has not, and errors in JSON."""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_BYTES", "HeadGuard"]

HEAD_BYTES = 64 << 10
HEAD_SECONDS = 10.0


class HeadGuard(H11Protocol):
    """One connection. A head that is late is cut off; one that is too long is answered 431.

    ``code`` is what the program says of a request that it cannot read.
    """

    code = "INVALID_REQUEST_BODY"

    _timer: asyncio.TimerHandle | None = None
    _waiting_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; a head that begins must also end."""
        self._waiting_bytes += len(data)
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._waiting_bytes = 0
            self._stop_timer()
        elif self._timer is None and self.conn.trailing_data[0]:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or too long, in the form of every other error."""
        is_long = self._waiting_bytes > HEAD_BYTES
        reason = "431 Request Header Fields Too Large" if is_long else "400 Bad Request"
        message = "The request head is longer than 64 KiB." if is_long else msg
        body = json.dumps({"code": self.code, "message": message})
        head = (
            f"HTTP/1.1 {reason}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode())
        self.transport.close()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
