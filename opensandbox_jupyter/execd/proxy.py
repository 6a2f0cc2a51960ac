"""``/proxy/{port}/…``: any request, passed to a port of the sandbox and back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import h11
from starlette.types import Receive, Scope, Send

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER
from opensandbox_jupyter.execd.errors import error_response

__all__ = ["Proxy"]

_BLOCK = 256 * 1024
_PREFIX = b"/proxy/"
_OURS = EXECD_TOKEN_HEADER.lower().encode()
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
_Headers = list[tuple[bytes, bytes]]


class Proxy:
    """An ASGI application that is the sandbox's own servers. Both bodies are streamed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        port, target = _target(scope)
        if port is None:
            refusal = error_response(400, "INVALID_REQUEST_BODY", "The path names no port.")
            return await refusal(scope, receive, send)
        exchange = Exchange(port)
        try:
            await exchange.run(scope, target, receive, send)
        except (OSError, h11.ProtocolError) as exc:
            if exchange.answering:
                return  # an answer without its end is cut off for the client, too
            message = f"Nothing useful came from port {port}: {exc}"
            await error_response(502, "BAD_GATEWAY", message)(scope, receive, send)
        finally:
            exchange.close()


def _target(scope: Scope) -> tuple[int | None, bytes]:
    """Return the port, ``None`` when there is none, and the path and query to ask it for."""
    number, _, rest = scope["raw_path"].removeprefix(_PREFIX).partition(b"/")
    port = int(number) if number.isdigit() and len(number) < 6 else 0
    query = scope["query_string"]
    return (port if 0 < port < 65536 else None), b"/" + rest + (b"?" + query if query else b"")


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> _Headers:
    """Return the headers that are meant for the other end."""
    kept = list(headers)
    named = {
        name.strip().lower()
        for header, value in kept
        if header == b"connection"
        for name in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named | {_OURS}
    return [(name, value) for name, value in kept if name not in dropped]


class Exchange:
    """One request to a port, and its answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._peer = h11.Connection(h11.CLIENT)
        self._writer: asyncio.StreamWriter | None = None
        self.answering = False

    async def run(self, scope: Scope, target: bytes, receive: Receive, send: Send) -> None:
        """Send the request and pass the answer on.

        Raises:
            OSError: when nothing listens, or it hung up.
            h11.ProtocolError: when what listens does not speak HTTP.
        """
        reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=_BLOCK * 2
        )
        headers = _end_to_end(scope["headers"])
        if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
            headers.append((b"transfer-encoding", b"chunked"))
        headers.append((b"connection", b"close"))
        self._write(h11.Request(method=scope["method"], target=target, headers=headers))
        asking = asyncio.ensure_future(self._ask(receive))
        answering = asyncio.ensure_future(self._answer(reader, send))
        try:
            await asyncio.wait([asking, answering], return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            asking.cancel()
            answering.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)

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

    async def _answer(self, reader: asyncio.StreamReader, send: Send) -> None:
        while True:
            event = self._peer.next_event()
            if event is h11.NEED_DATA:
                self._peer.receive_data(await reader.read(_BLOCK))
            elif isinstance(event, h11.Response):
                headers = _end_to_end(event.headers)
                self.answering = True
                await send(
                    {
                        "type": "http.response.start",
                        "status": event.status_code,
                        "headers": headers,
                    }
                )
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
