"""Single requests of the server's own to an execd, over the unix socket on which it listens."""

from __future__ import annotations

import asyncio
import contextlib
import re

import msgspec

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER, LOGS_CURSOR_HEADER

__all__ = ["ask", "fetch_end", "fetch_runs", "message_of", "succeeds"]

_BLOCK = 65_536
_MOST_MESSAGE = 4096


class _Runs(msgspec.Struct):
    runs: list[tuple[float, str, str]]


class _Refusal(msgspec.Struct):
    message: str = "The sandbox gave no reason."


async def ask(socket_path: str, token: str, request: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send ``request`` (method and path) and return the status of the answer, and its body.

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
        said = await _read(reader, _BLOCK)
    finally:
        writer.close()
    if found is None:
        raise ConnectionResetError("The sandbox hung up.")
    return int(found[1]), said.partition(b"\r\n\r\n")[2]


def message_of(answer: bytes) -> str:
    """Return what a refusal says; whatever it is, it comes from inside."""
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(answer, type=_Refusal).message[:_MOST_MESSAGE]
    return "The sandbox gave no reason."


async def succeeds(socket_path: str, token: str, command: str, seconds: float) -> bool:
    """Run a shell command inside and return whether it ended with exit code 0 in time.

    Raises:
        OSError: nobody listens, or it hung up without an answer.
    """
    body = msgspec.json.encode({"command": command, "timeout": int(seconds * 1000)})
    reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        # HTTP/1.0, so that the events come without the marks of chunks
        head = (
            f"POST /command HTTP/1.0\r\nHost: sandbox\r\n{EXECD_TOKEN_HEADER}: {token}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        last = b""
        while block := await reader.read(_BLOCK):
            last = (last + block)[-_BLOCK:]
    finally:
        writer.close()
    return b'{"type":"execution_complete"' in last


async def fetch_end(socket_path: str, token: str, path: str, most: int) -> bytes:
    """Return the last ``most`` bytes of a log; one that is not there is empty.

    Raises:
        OSError: nobody listens, or it hung up without an answer.
    """
    status, headers, _ = await _get(socket_path, token, f"{path}?cursor={10**18}", 0)
    end = headers.get(LOGS_CURSOR_HEADER.lower(), "")
    if status != 200 or not end.isdigit():
        return b""
    start = max(0, int(end[:18]) - most)
    status, _, body = await _get(socket_path, token, f"{path}?cursor={start}", most)
    return body if status == 200 else b""


async def fetch_runs(socket_path: str, token: str) -> list[tuple[float, str, str]]:
    """Return how hooks went lately: when, whose, and what was said of it.

    Raises:
        OSError: nobody listens, or it hung up without an answer.
    """
    status, _, body = await _get(socket_path, token, "/internal/hooks", 1 << 20)
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        if status == 200:
            return msgspec.json.decode(body, type=_Runs).runs
    return []


async def _get(
    socket_path: str, token: str, target: str, most: int
) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_unix_connection(socket_path)
    try:
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: sandbox\r\n{EXECD_TOKEN_HEADER}: {token}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        found = re.match(rb"HTTP/1\.1 (\d{3})\b", await reader.readline())
        if found is None:
            raise ConnectionResetError("The sandbox hung up.")
        headers = {}
        while line := (await reader.readline()).decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await _read(reader, most)
    finally:
        writer.close()
    return int(found[1]), headers, body


async def _read(reader: asyncio.StreamReader, most: int) -> bytes:
    said = b""
    while len(said) < most and (block := await reader.read(most - len(said))):
        said += block
    return said
