"""Both colours of transport behind one face."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opensandbox_jupyter import ConnectionConfig, ConnectionConfigSync
from opensandbox_jupyter.transport.aio import AsyncTransport
from opensandbox_jupyter.transport.blocking import BlockingTransport
from opensandbox_jupyter.wire.base import Call, Operation, Reply


def single(call: Call) -> Operation[Reply]:
    return (yield call)


class Async:
    """The async transport."""

    def __init__(self, *, embedded: bool = False, **options: Any) -> None:
        settings = ConnectionConfig(domain="unused", **options).settings()
        self.transport = AsyncTransport(settings, embedded=embedded)

    async def fetch(self, call: Call) -> Reply:
        return await self.transport.run(single(call))

    async def carry(self, operation: Operation[Any]) -> Any:
        return await self.transport.run(operation)

    async def feed(self, call: Call, take: Callable[[bytes], object]) -> None:
        """Hand the chunks of an answer over, one by one."""
        async with self.transport.stream(call) as chunks:
            async for chunk in chunks:
                take(chunk)

    async def read(self, call: Call) -> bytes:
        return await self.transport.read(call)

    async def stream(self, call: Call, until: bytes | None = None) -> bytes:
        """Return the answer's body, or its beginning through ``until``."""
        body = b""
        async with self.transport.stream(call) as chunks:
            async for chunk in chunks:
                body += chunk
                if until is not None and until in body:
                    break
        return body

    async def connect(self, call: Call) -> Any:
        return await self.transport.connect(call)

    async def close(self) -> None:
        await self.transport.close()


class Blocking:
    """The blocking transport."""

    def __init__(self, *, embedded: bool = False, **options: Any) -> None:
        settings = ConnectionConfigSync(domain="unused", **options).settings()
        self.transport = BlockingTransport(settings, embedded=embedded)

    async def fetch(self, call: Call) -> Reply:
        return self.transport.run(single(call))

    async def carry(self, operation: Operation[Any]) -> Any:
        return self.transport.run(operation)

    async def feed(self, call: Call, take: Callable[[bytes], object]) -> None:
        """Hand the chunks of an answer over, one by one."""
        with self.transport.stream(call) as chunks:
            for chunk in chunks:
                take(chunk)

    async def read(self, call: Call) -> bytes:
        return self.transport.read(call)

    async def stream(self, call: Call, until: bytes | None = None) -> bytes:
        """Return the answer's body, or its beginning through ``until``."""
        body = b""
        with self.transport.stream(call) as chunks:
            for chunk in chunks:
                body += chunk
                if until is not None and until in body:
                    break
        return body

    async def connect(self, call: Call) -> Any:
        return self.transport.connect(call)

    async def close(self) -> None:
        self.transport.close()


Colour = Async | Blocking
