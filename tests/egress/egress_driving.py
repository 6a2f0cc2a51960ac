"""A proxy in this process, with a resolver of the test's own, and canaries that it may reach."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from opensandbox_jupyter.egress.addresses import Address
from opensandbox_jupyter.egress.judge import Judge
from opensandbox_jupyter.egress.policy import NetworkPolicy, load
from opensandbox_jupyter.egress.proxy import Proxy


@dataclass
class Canary:
    """A server on 127.0.0.1 that remembers what it was asked, and answers every request."""

    port: int = 0
    heard: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heard.append(head)
                if head.startswith(b"GET /away"):
                    answer = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n"
                else:
                    answer = b"HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nx-end: 1\r\n"
                writer.write(answer + b"content-length: 6\r\n\r\ncanary")
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    found = Canary()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


class Names:
    """A resolver: each name has answers, given out one after the other, the last for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[Address]:
        self.asked.append(name)
        if name not in self.answers:
            raise OSError("no such name")
        known = self.answers[name]
        return [ip_address(text) for text in (known.pop(0) if len(known) > 1 else known[0])]


@dataclass
class Way:
    """A proxy under test."""

    proxy: Proxy
    path: str
    names: Names
    ours: set[int]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    async def say(self, data: bytes) -> bytes:
        """Send ``data`` and return everything that comes back, to the end."""
        reader, writer = await self.connect()
        writer.write(data)
        if b"CONNECT" not in data:
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(-1), 20)
        finally:
            writer.close()

    async def status(self, data: bytes) -> int:
        answer = await self.say(data)
        return int(answer.split(b" ", 2)[1]) if answer else 0


@contextlib.asynccontextmanager
async def way_out(directory: Path, policy: NetworkPolicy) -> AsyncIterator[Way]:
    names, ours = Names(), set[int]()
    proxy = Proxy(Judge(names, ours.__contains__), policy)
    path = str(directory / "out")
    await proxy.start(path)
    try:
        yield Way(proxy, path, names, ours)
    finally:
        await proxy.close()


def rules(*pairs: str, default: str = "deny") -> NetworkPolicy:
    egress = [dict(zip(("action", "target"), pair.split(), strict=True)) for pair in pairs]
    return load({"defaultAction": default, "egress": egress})


def get(authority: str, *headers: str, path: str = "/", host: str | None = None) -> bytes:
    lines = [f"GET http://{authority}{path} HTTP/1.1", f"Host: {host or authority}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def tunnel(authority: str) -> bytes:
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("latin-1")


Maker = Callable[[str], bytes]
