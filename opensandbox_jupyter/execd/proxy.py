"""``/proxy/{port}/…``: any request, passed to a port of the sandbox and back."""

from __future__ import annotations

import asyncio
from functools import partial

import h11
from starlette.types import Receive, Scope, Send

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER
from opensandbox_jupyter.execd.errors import error_response
from opensandbox_jupyter.hosting.exchange import BLOCK, Exchange, Headers, end_to_end
from opensandbox_jupyter.hosting.refusals import UNREACHED

__all__ = ["OURS", "PROXY_PREFIX", "Proxy", "port_and_target"]

PROXY_PREFIX = b"/proxy/"
OURS = EXECD_TOKEN_HEADER.lower().encode()


class Proxy:
    """An ASGI application that is the sandbox's own servers. Both bodies are streamed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        query = scope["query_string"]
        asked = scope["raw_path"] + (b"?" + query if query else b"")
        port, target = port_and_target(asked)
        if port is None:
            refusal = error_response(400, "INVALID_REQUEST_BODY", "The path names no port.")
            return await refusal(scope, receive, send)
        exchange = Exchange(partial(_connect, port), _answer)
        headers = [(name, value) for name, value in scope["headers"] if name != OURS]
        try:
            await exchange.run(scope["method"], target, headers, receive, send)
        except (OSError, h11.ProtocolError) as exc:
            if exchange.answering:
                return  # an answer without its end is cut off for the client, too
            message = f"Nothing useful came from port {port}: {exc}"
            refusal = error_response(502, "BAD_GATEWAY", message)
            refusal.headers[UNREACHED] = "1"
            await refusal(scope, receive, send)
        finally:
            exchange.close()


def port_and_target(asked: bytes) -> tuple[int | None, bytes]:
    """Return the port, ``None`` when there is none, and the path and query to ask it for."""
    path, mark, query = asked.partition(b"?")
    number, _, rest = path.removeprefix(PROXY_PREFIX).partition(b"/")
    port = int(number) if number.isdigit() and len(number) < 6 else 0
    return (port if 0 < port < 65536 else None), b"/" + rest + mark + query


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, limit=BLOCK * 2)


def _answer(response: h11.Response) -> Headers:
    return end_to_end(response.headers, OURS, UNREACHED.encode())
