"""A program that uses pools of the vendor's own SDK: ``pool_scenario.py REDIS_SOCKET``.

The test runs it as it is, and once more with nothing changed but its imports. The server is named
by ``OPEN_SANDBOX_DOMAIN`` and ``OPEN_SANDBOX_API_KEY``. Prints ``done`` at the end.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from datetime import timedelta

import redis
import redis.asyncio
from opensandbox import (
    AcquirePolicy,
    InMemoryAsyncPoolStateStore,
    PoolCreationSpec,
    PoolDestroyOptions,
    PoolDestroyState,
    SandboxPoolAsync,
    SandboxPoolManagerAsync,
    SandboxPoolManagerSync,
    SandboxPoolSync,
    SandboxSync,
)
from opensandbox.config import ConnectionConfig, ConnectionConfigSync
from opensandbox.exceptions import PoolDestroyedException, PoolEmptyException, SandboxApiException
from opensandbox.pool_redis import AsyncRedisPoolStateStore, RedisPoolStateStore
from opensandbox.pool_types import PoolLifecycleState, PoolState

LIFETIME = timedelta(minutes=2)


def spec(name: str) -> PoolCreationSpec:
    return PoolCreationSpec(image="base", env={"GREETING": "warm"}, metadata={"pool": name})


async def in_memory() -> None:
    """A pool of one program, with hooks."""
    name, prepared = f"pool-{uuid.uuid4().hex[:8]}", []

    async def prepare(sandbox) -> None:
        await sandbox.files.write_file("/tmp/prepared", "yes")
        prepared.append(sandbox.id)

    pool = SandboxPoolAsync(
        pool_name=name,
        max_idle=2,
        state_store=InMemoryAsyncPoolStateStore(),
        connection_config=ConnectionConfig(),
        creation_spec=spec(name),
        warmup_sandbox_preparer=prepare,
        idle_timeout=timedelta(minutes=10),
    )
    async with pool:
        while (await pool.snapshot()).idle_count < 2:
            await asyncio.sleep(0.05)
        assert (await pool.snapshot()).state is PoolState.HEALTHY
        entries = await pool.snapshot_idle_entries()
        sandbox = await pool.acquire(LIFETIME, AcquirePolicy.FAIL_FAST)
        assert sandbox.id == entries[0].sandbox_id
        assert sandbox.id in prepared
        assert await sandbox.files.read_file("/tmp/prepared") == "yes"
        execution = await sandbox.commands.run("echo $GREETING")
        assert execution.logs.stdout[0].text.strip() == "warm"
        await sandbox.kill()
        await sandbox.close()
        await pool.resize(0)
    assert (await pool.snapshot()).lifecycle_state is PoolLifecycleState.STOPPED
    assert await pool.release_all_idle() >= 1


def on_redis(socket: str) -> None:
    """A blocking pool on Redis, and its end."""
    name, client = f"pool-{uuid.uuid4().hex[:8]}", redis.Redis(unix_socket_path=socket)
    store = RedisPoolStateStore(client)
    pool = SandboxPoolSync(
        pool_name=name,
        max_idle=1,
        state_store=store,
        connection_config=ConnectionConfigSync(),
        creation_spec=spec(name),
        idle_timeout=timedelta(minutes=10),
    )
    pool.start()
    while pool.snapshot().idle_count < 1:
        time.sleep(0.05)
    sandbox = pool.acquire(sandbox_timeout=LIFETIME)
    assert sandbox.commands.run("echo $GREETING").logs.stdout[0].text.strip() == "warm"
    sandbox.kill()
    sandbox.close()
    pool.shutdown(graceful=True)

    result = SandboxPoolManagerSync(
        state_store=store, connection_config=ConnectionConfigSync()
    ).destroy(name, PoolDestroyOptions(tombstone_ttl=timedelta(minutes=1)))
    assert result.state is PoolDestroyState.DESTROYED
    assert result.persistent_state_cleared
    try:
        pool.start()
    except PoolDestroyedException as error:
        assert error.error.code == "POOL_DESTROYED"
    else:
        raise AssertionError("a destroyed pool starts")
    client.close()


async def shared(socket: str) -> None:
    """What one object puts another one takes."""
    client = redis.asyncio.Redis(unix_socket_path=socket)
    store, name = AsyncRedisPoolStateStore(client), "shared"
    box = await asyncio.to_thread(
        SandboxSync.create, "base", timeout=LIFETIME, connection_config=ConnectionConfigSync()
    )
    box.close()
    await store.put_idle(name, box.id)
    pool = SandboxPoolAsync(
        pool_name=name,
        max_idle=0,
        state_store=store,
        connection_config=ConnectionConfig(),
        creation_spec=spec(name),
        idle_timeout=timedelta(minutes=10),
    )
    await pool.start()
    try:
        sandbox = await pool.acquire(policy=AcquirePolicy.RETRY_NEXT_IDLE)
        assert sandbox.id == box.id
        await sandbox.kill()
        await sandbox.close()
    except PoolEmptyException:
        pass  # the pool has shrunk to its size, which is none, before that
    await pool.shutdown(graceful=False)
    manager = SandboxPoolManagerAsync(state_store=store, connection_config=ConnectionConfig())
    await manager.destroy(name, PoolDestroyOptions(tombstone_ttl=timedelta(milliseconds=1)))
    try:
        found = await asyncio.to_thread(SandboxSync.connect, box.id)
    except SandboxApiException as error:
        assert error.status_code == 404
    else:
        raise AssertionError(f"{found.id} was left behind")
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(in_memory())
    on_redis(sys.argv[1])
    asyncio.run(shared(sys.argv[1]))
    print("done")
