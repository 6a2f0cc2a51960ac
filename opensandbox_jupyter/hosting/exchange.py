"""One HTTP request passed on to another server, and its answer back. Both bodies are streamed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import h11
from starlette.types import Receive, Send

__all__ = ["BLOCK", "Exchange", "Headers", "Silence", "end_to_end"]

BLOCK = 256 * 1024
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
Headers = list[tuple[bytes, bytes]]
_Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Silence(Exception):
    """The other server took the request and answered nothing for too long."""


def end_to_end(headers: Iterable[tuple[bytes, bytes]], *more: bytes) -> Headers:
    """Return the headers that are meant for the other end, ``more`` names left out."""
    kept = list(headers)
    named = {
        name.strip().lower()
        for header, value in kept
        if header == b"connection"
        for name in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named | set(more)
    return [(name, value) for name, value in kept if name not in dropped]


class Exchange:
    """One request and its answer.

    Args:
        connect: opens the connection to the other server.
        answer: returns the headers to pass on; it may raise, and then nothing was sent yet.
        patience: seconds of silence, from the last byte sent, until the answer must begin.
    """

    def __init__(
        self,
        connect: _Connect,
        answer: Callable[[h11.Response], Headers],
        patience: float | None = None,
    ) -> None:
        self._connect = connect
        self._judge = answer
        self._patience = patience
        self._peer = h11.Connection(h11.CLIENT)
        self._writer: asyncio.StreamWriter | None = None
        self._heard = time.monotonic()
        self.answering = False
        """Whether the answer has begun: from here on a failure can only cut it off."""

    async def run(
        self, method: str, target: bytes, headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Send the request, whose ``headers`` are the client's, and pass the answer on.

        Raises:
            OSError: when nothing listens, or it hung up.
            h11.ProtocolError: when what listens does not speak HTTP.
            Silence: when it did not answer in time.
        """
        reader, self._writer = await self._connect()
        kept = end_to_end(headers)
        if any(name == b"transfer-encoding" for name, _ in headers):
            kept.append((b"transfer-encoding", b"chunked"))
        kept.append((b"connection", b"close"))
        self._write(h11.Request(method=method, target=target, headers=kept))
        self._heard = time.monotonic()
        asking = asyncio.ensure_future(self._ask(receive))
        answering = asyncio.ensure_future(self._answer(reader, send))
        try:
            await self._wait(asking, answering)
            if answering.done():
                answering.result()
        finally:
            asking.cancel()
            answering.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)

    async def _wait(self, asking: asyncio.Future[None], answering: asyncio.Future[None]) -> None:
        while not (asking.done() or answering.done()):
            left = None
            if self._patience is not None and not self.answering:
                left = self._heard + self._patience - time.monotonic()
                if left <= 0:
                    raise Silence
            await asyncio.wait(
                [asking, answering], timeout=left, return_when=asyncio.FIRST_COMPLETED
            )

    async def _ask(self, receive: Receive) -> None:
        """Pass the request's body on; return when the client has gone."""
        assert self._writer is not None
        more = True
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if not more:
                continue
            more = message.get("more_body", False)
            with suppress(OSError, h11.LocalProtocolError):
                if message.get("body"):
                    self._write(h11.Data(data=message["body"]))
                if not more:
                    self._write(h11.EndOfMessage())
                await self._writer.drain()
            self._heard = time.monotonic()

    async def _answer(self, reader: asyncio.StreamReader, send: Send) -> None:
        while True:
            event = self._peer.next_event()
            if event is h11.NEED_DATA:
                self._peer.receive_data(await reader.read(BLOCK))
            elif isinstance(event, h11.Response):
                headers = self._judge(event)
                self.answering = True
                status = event.status_code
                await send({"type": "http.response.start", "status": status, "headers": headers})
            elif isinstance(event, h11.Data):
                body = bytes(event.data)
                await send({"type": "http.response.body", "body": body, "more_body": True})
            elif isinstance(event, h11.EndOfMessage):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("it hung up")

    def _write(self, event: h11.Event) -> None:
        assert self._writer is not None
        self._writer.write(self._peer.send(event) or b"")

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
