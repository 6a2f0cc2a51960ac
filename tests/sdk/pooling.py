"""Pools in both colours behind one face, and a Redis of the test's own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from scenarios.colours import Awaited, Promise, awaited

from opensandbox_jupyter import ConnectionConfig, ConnectionConfigSync, SandboxManagerSync
from opensandbox_jupyter.models.sandboxes import SandboxFilter
from opensandbox_jupyter.pool import (
    InMemoryAsyncPoolStateStore,
    InMemoryPoolStateStore,
    PoolCreationSpec,
    SandboxPoolAsync,
    SandboxPoolManagerAsync,
    SandboxPoolManagerSync,
    SandboxPoolSync,
)
from opensandbox_jupyter.pool_redis import AsyncRedisPoolStateStore, RedisPoolStateStore


class Redis:
    """A redis-server on a unix socket, which keeps what it holds when it is started again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pool-redis-"))
        self.socket = str(self.folder / "redis.sock")
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir"]
        command += [str(self.folder), "--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=self.folder
        )
        with redis.Redis(unix_socket_path=self.socket) as client:
            while True:
                try:
                    client.ping()
                except redis.RedisError:
                    assert self.process.poll() is None, "redis-server ended"
                    time.sleep(0.01)
                else:
                    return

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Colour:
    """The classes of one colour, and how to use them from an async test."""

    name: str
    Pool: Any
    Manager: Any
    Config: Any
    Memory: Any
    OnRedis: Any
    Client: Any

    @property
    def is_blocking(self) -> bool:
        return self.name == "blocking"

    def wrap(self, thing: Any) -> Any:
        """Return something whose methods are awaited."""
        return Awaited(thing) if self.is_blocking else thing

    def hook(self, function: Callable[..., Any]) -> Any:
        """Return a plain function as a hook of this colour."""
        if self.is_blocking:
            return function

        async def hook(*args: Any) -> Any:
            return function(*args)

        return hook

    def begin(self, call: Any) -> asyncio.Future[Any]:
        """Begin a call, and go on with the test."""
        if isinstance(call, Promise):
            return asyncio.ensure_future(asyncio.to_thread(lambda: awaited(call._call())))
        return asyncio.ensure_future(call)

    @asynccontextmanager
    async def store(self, server: Redis) -> AsyncIterator[Any]:
        """Give a store on that Redis."""
        retry = (Retry if self.is_blocking else AsyncRetry)(NoBackoff(), 1)
        client = self.Client(unix_socket_path=server.socket, retry=retry)
        try:
            yield self.OnRedis(client)
        finally:
            await (client.aclose() if not self.is_blocking else asyncio.to_thread(client.close))


ASYNC = Colour(
    "async",
    SandboxPoolAsync,
    SandboxPoolManagerAsync,
    ConnectionConfig,
    InMemoryAsyncPoolStateStore,
    AsyncRedisPoolStateStore,
    redis.asyncio.Redis,
)
BLOCKING = Colour(
    "blocking",
    SandboxPoolSync,
    SandboxPoolManagerSync,
    ConnectionConfigSync,
    InMemoryPoolStateStore,
    RedisPoolStateStore,
    redis.Redis,
)


@dataclass
class House:
    """Makes pools of one name, knows their sandboxes, and ends all of them."""

    colour: Colour
    name: str = field(default_factory=lambda: f"pool-{uuid.uuid4().hex[:12]}")
    pools: list[Any] = field(default_factory=list)

    def pool(self, **settings: Any) -> Any:
        """Return a pool, which nobody has started yet."""
        given = {
            "pool_name": self.name,
            "max_idle": 1,
            "state_store": self.colour.Memory(),
            "connection_config": self.colour.Config(),
            "creation_spec": PoolCreationSpec("base", metadata={"pool": self.name}),
            "idle_timeout": timedelta(minutes=5),
        }
        pool = self.colour.wrap(self.colour.Pool(**given | settings))
        self.pools.append(pool)
        return pool

    async def running(self, **settings: Any) -> Any:
        """Return a pool that runs, with all the warm sandboxes that it shall have."""
        pool = self.pool(**settings)
        await pool.start()
        await full(pool)
        return pool

    def sandboxes(self) -> set[str]:
        """Return the ids of all sandboxes that pools of this name have made and nobody ended."""
        with SandboxManagerSync.create() as manager:
            mine = SandboxFilter(metadata={"pool": self.name}, page_size=200)
            return {info.id for info in manager.list_sandbox_infos(mine).sandbox_infos}

    async def close(self) -> None:
        for pool in self.pools:
            await pool.shutdown(False)
        with SandboxManagerSync.create() as manager:
            for sandbox_id in self.sandboxes():
                manager.kill_sandbox(sandbox_id)


async def full(pool: Any) -> None:
    """Wait until a pool has all the warm sandboxes that it shall have, and nothing to do."""

    async def is_full() -> bool:
        snapshot = await pool.snapshot()
        assert snapshot.last_error is None, snapshot.last_error
        return snapshot.idle_count == snapshot.max_idle and not snapshot.in_flight_operations

    await eventually(is_full)


async def eventually(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        await asyncio.sleep(0.02)


async def idle_ids(pool: Any) -> list[str]:
    """Return the ids of the warm sandboxes, the one that waits longest first."""
    return [entry.sandbox_id for entry in await pool.snapshot_idle_entries()]
