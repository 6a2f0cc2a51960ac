"""WebSockets: those of execd itself, and those that lead on to a port of the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.responses import Response

from opensandbox_jupyter.execd.errors import error_response
from opensandbox_jupyter.execd.proxy import OURS, PROXY_PREFIX, port_and_target
from opensandbox_jupyter.hosting.exchange import Headers
from opensandbox_jupyter.hosting.tunnels import Closed, Opening, Way

__all__ = ["lead", "own_socket"]


def own_socket(**options: Any) -> asyncio.Protocol:
    """Return the protocol of execd's own WebSockets; what it needs is loaded at the first one."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    return WebSocketsSansIOProtocol(**options)


def lead(refusal: Callable[[Headers, bytes], Response | None], opening: Opening) -> Way | None:
    """Lead an opening to the port that it names, unless ``refusal`` has something against it."""
    if not opening.target.startswith(PROXY_PREFIX):
        return None
    refused = refusal(opening.headers, opening.target)
    port, target = port_and_target(opening.target)
    if refused or port is None:
        message = "The path names no port."
        raise Closed(refused or error_response(400, "INVALID_REQUEST_BODY", message))
    connect = partial(asyncio.get_running_loop().create_connection, host="127.0.0.1", port=port)
    headers = [(name, value) for name, value in opening.headers if name != OURS]
    return Way(connect, target, headers, f"Nothing useful came from port {port}")
