"""Pools that share a Redis: two owners, one that dies, and a Redis that goes away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from pooling import ASYNC, BLOCKING, Colour, House, Redis, eventually, full, idle_ids

from opensandbox_jupyter.exceptions import (
    PoolDestroyedException,
    PoolStateStoreUnavailableException,
)
from opensandbox_jupyter.pool import AcquirePolicy, PoolDestroyState, PoolState
from opensandbox_jupyter.pools.scripts import keys_of

pytestmark = pytest.mark.timeout(240)
LIFETIME = timedelta(minutes=2)


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    server = Redis()
    yield server
    server.remove()


@pytest.fixture(params=[ASYNC, BLOCKING], ids=lambda c: c.name)
def colour(request: pytest.FixtureRequest, embedded: Any) -> Colour:
    return request.param


@pytest.fixture
async def house(colour: Colour) -> AsyncIterator[House]:
    house = House(colour)
    yield house
    await house.close()


@pytest.fixture
async def store(colour: Colour, server: Redis, house: House) -> AsyncIterator[Any]:
    async with colour.store(server) as store:
        yield store
        await house.close()  # while there is still a store


async def test_two_owners_fill_one_pool(house: House, store: Any, server: Redis) -> None:
    one = await house.running(max_idle=3, state_store=store, owner_id="one")
    two = await house.running(max_idle=3, state_store=store, owner_id="two")
    lock = keys_of("opensandbox:pool", house.name)[2]
    with redis.Redis(unix_socket_path=server.socket) as raw:
        assert raw.get(lock) == b"one"
        assert house.sandboxes() == set(await idle_ids(two))
        assert len(await idle_ids(two)) == 3

        await two.resize(1)
        await full(one)
        sandbox = await two.acquire(LIFETIME, AcquirePolicy.FAIL_FAST)
        await one.shutdown()
        await eventually(lambda: raw.get(lock) == b"two")
        await full(two)
        await two.shutdown()
        assert raw.get(lock) is None
    assert house.sandboxes() == {sandbox.id, *await idle_ids(two)}
    await sandbox.destroy()
    assert await one.release_all_idle() == 1


async def test_when_an_owner_dies_another_one_goes_on(
    house: House, store: Any, server: Redis
) -> None:
    script = str(Path(__file__).with_name("pool_owner.py"))
    command = [sys.executable, script, server.socket, house.name, "1"]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "started\n"
        pool = await house.running(state_store=store, primary_lock_ttl=timedelta(seconds=2))
        owner.kill()
        owner.wait()
        made_by_the_dead = await pool.acquire(LIFETIME, AcquirePolicy.FAIL_FAST)
        assert await made_by_the_dead.is_healthy()
        await full(pool)
        made_by_us = await pool.acquire(LIFETIME, AcquirePolicy.FAIL_FAST)
        for sandbox in (made_by_the_dead, made_by_us):
            await sandbox.destroy()
    finally:
        owner.kill()
        owner.wait()
        assert owner.stdout is not None
        owner.stdout.close()


async def test_a_redis_that_goes_away_and_comes_back(
    house: House, store: Any, server: Redis
) -> None:
    pool = await house.running(max_idle=2, state_store=store)
    before = await idle_ids(pool)
    server.stop()
    try:
        for policy in (AcquirePolicy.FAIL_FAST, AcquirePolicy.RETRY_NEXT_IDLE):
            with pytest.raises(PoolStateStoreUnavailableException):
                await pool.acquire(LIFETIME, policy)
        made = await pool.acquire(LIFETIME, AcquirePolicy.DIRECT_CREATE)
        assert made.id not in before
        await made.destroy()
        with pytest.raises(PoolStateStoreUnavailableException):
            await pool.snapshot()
    finally:
        server.start()

    sandbox = await pool.acquire(LIFETIME, AcquirePolicy.RETRY_NEXT_IDLE)
    assert sandbox.id in before
    await sandbox.destroy()
    await full(pool)
    assert (await pool.snapshot()).state is PoolState.HEALTHY
    assert house.sandboxes() == set(await idle_ids(pool))


async def test_a_shutdown_without_redis_ends_too(house: House, store: Any, server: Redis) -> None:
    pool = await house.running(state_store=store)
    server.stop()
    try:
        await pool.shutdown()
    finally:
        server.start()
    assert (await pool.snapshot()).lifecycle_state.value == "STOPPED"
    assert await pool.release_all_idle() == 1
    assert house.sandboxes() == set()


async def test_hostile_values_fill_no_pool_and_stop_none(
    house: House, store: Any, server: Redis
) -> None:
    pool = await house.running(state_store=store)
    keys = keys_of("opensandbox:pool", house.name)
    with redis.Redis(unix_socket_path=server.socket) as raw:
        raw.set(keys[3], "many")
        raw.lpush(keys[0], b"\x80\x04\x95cos\nsystem\n", b"no-such-sandbox")
        raw.hset(keys[1], b"\x80\x04\x95cos\nsystem\n", 2 * 10**12)
        raw.hset(keys[1], b"no-such-sandbox", 2 * 10**12)
        sandbox = await pool.acquire(LIFETIME, AcquirePolicy.RETRY_NEXT_IDLE_THEN_CREATE)
        assert await sandbox.is_healthy()
        await sandbox.destroy()
        raw.delete(keys[0])
        raw.set(keys[0], "no list")
        with pytest.raises(PoolStateStoreUnavailableException, match="WRONGTYPE"):
            await pool.acquire(LIFETIME, AcquirePolicy.FAIL_FAST)
        raw.delete(*keys[:2])
        await full(pool)


async def test_destroying_a_pool_stops_all_its_owners(house: House, store: Any) -> None:
    pools = [await house.running(max_idle=2, state_store=store) for _ in range(2)]
    manager = house.colour.wrap(house.colour.Manager(state_store=store))

    result = await house.colour.begin(manager.destroy(house.name))

    assert (result.state, result.killed_idle_count) == (PoolDestroyState.DESTROYED, 2)
    for pool in pools:
        with pytest.raises(PoolDestroyedException):
            await pool.acquire()

        async def is_stopped(pool: Any = pool) -> bool:
            return (await pool.snapshot()).state is PoolState.STOPPED

        await eventually(is_stopped)
    await eventually(lambda: house.sandboxes() == set())


async def test_no_connection_to_redis_is_left(house: House, server: Redis) -> None:
    def connected() -> int:
        found = psutil.Process(server.process.pid).net_connections("unix")
        return sum(one.laddr == server.socket for one in found)

    before = connected()
    async with house.colour.store(server) as store:
        await house.running(state_store=store)
        assert connected() > before
        await house.pools[0].shutdown()
        await house.pools[0].release_all_idle()
    await eventually(lambda: connected() == before)
