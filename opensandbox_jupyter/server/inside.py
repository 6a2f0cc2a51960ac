"""Single requests of the server's own to an execd, over the unix socket on which it listens."""

from __future__ import annotations

import asyncio
import re

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER

__all__ = ["ask"]


async def ask(socket_path: str, token: str, request: str, body: bytes = b"") -> int:
    """Send ``request`` (method and path) and return the status of the answer.

    Raises:
        OSError: nobody listens, or it hung up without an answer.
    """
    reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        head = (
            f"{request} HTTP/1.1\r\nHost: sandbox\r\n{EXECD_TOKEN_HEADER}: {token}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        found = re.match(rb"HTTP/1\.1 (\d{3})\b", await reader.readline())
    finally:
        writer.close()
    if found is None:
        raise ConnectionResetError("The sandbox hung up.")
    return int(found[1])
