"""Stores of pools: the same promises in memory and on Redis, and what Redis may hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import redis
from pooling import ASYNC, BLOCKING, Colour, Redis, eventually

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    PoolDestroyedException,
    PoolStateStoreUnavailableException,
)
from opensandbox_jupyter.pool import IdleEntry, PoolDestroyState, TakeIdleResult
from opensandbox_jupyter.pool_types import (
    reap_expired_idle_with_min_ttl_async,
    try_take_idle_with_min_ttl_async,
)
from opensandbox_jupyter.pools.scripts import keys_of

HOUR, MINUTE, SHORT = timedelta(hours=1), timedelta(minutes=1), timedelta(milliseconds=30)
POOL = "shop"


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    server = Redis()
    yield server
    server.remove()


@pytest.fixture
def raw(server: Redis) -> Iterator[redis.Redis]:
    """The Redis itself, empty."""
    with redis.Redis(unix_socket_path=server.socket) as client:
        client.flushall()
        yield client


@pytest.fixture(params=[ASYNC, BLOCKING], ids=lambda c: c.name)
def colour(request: pytest.FixtureRequest) -> Colour:
    return request.param


@pytest.fixture
async def on_redis(colour: Colour, server: Redis, raw: redis.Redis) -> AsyncIterator[Any]:
    async with colour.store(server) as store:
        yield colour.wrap(store)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, colour: Colour, on_redis: Any) -> Any:
    return on_redis if request.param == "redis" else colour.wrap(colour.Memory())


async def test_who_has_waited_longest_goes_first(store: Any) -> None:
    await store.set_idle_entry_ttl(POOL, HOUR)
    before = datetime.now(timezone.utc)
    for name in ("one", "two", "three", "two"):
        await store.put_idle(POOL, name)
    await store.put_idle("another", "four")
    entries = await store.snapshot_idle_entries(POOL)
    assert [entry.sandbox_id for entry in entries] == ["one", "two", "three"]
    least = before + HOUR - timedelta(seconds=1)  # Redis has whole milliseconds
    assert all(isinstance(e, IdleEntry) and e.expires_at > least for e in entries)
    await store.remove_idle(POOL, "two")
    await store.remove_idle(POOL, "unknown")
    assert (await store.snapshot_counters(POOL)).idle_count == 2
    assert [await store.try_take_idle(POOL) for _ in range(3)] == ["one", "three", None]
    assert await store.try_take_idle("another") == "four"


async def test_what_has_ended_is_not_given_out_nor_counted(store: Any) -> None:
    await store.set_idle_entry_ttl(POOL, SHORT)
    await store.put_idle(POOL, "short")

    async def is_gone() -> bool:
        return (await store.snapshot_counters(POOL)).idle_count == 0

    await eventually(is_gone)
    assert await store.snapshot_idle_entries(POOL) == []
    await store.put_idle(POOL, "short")  # it may come back
    await eventually(is_gone)
    await store.reap_expired_idle(POOL, datetime.now(timezone.utc))
    assert await store.try_take_idle(POOL) is None


async def test_what_lives_too_short_is_left_out_and_named(store: Any) -> None:
    await store.set_idle_entry_ttl(POOL, MINUTE)
    await store.put_idle(POOL, "one")
    await store.put_idle(POOL, "two")
    await store.set_idle_entry_ttl(POOL, HOUR)
    await store.put_idle(POOL, "long")
    now = datetime.now(timezone.utc)
    assert await store.try_take_idle_min_ttl(POOL, 2 * MINUTE) == TakeIdleResult(
        "long", ("one", "two")
    )
    assert await store.try_take_idle_min_ttl(POOL, 2 * MINUTE) == TakeIdleResult(None)
    for ttl, name in ((MINUTE, "one"), (HOUR, "long")):
        await store.set_idle_entry_ttl(POOL, ttl)
        await store.put_idle(POOL, name)
    assert await store.reap_expired_idle_min_ttl(POOL, now, 2 * MINUTE) == ("one",)
    assert await store.try_take_idle(POOL) == "long"


async def test_one_owner_at_a_time_until_its_word_expires(store: Any) -> None:
    assert not await store.renew_primary_lock(POOL, "a", HOUR)
    assert await store.try_acquire_primary_lock(POOL, "a", HOUR)
    assert await store.try_acquire_primary_lock(POOL, "a", HOUR)
    assert not await store.try_acquire_primary_lock(POOL, "b", HOUR)
    assert not await store.renew_primary_lock(POOL, "b", HOUR)
    await store.release_primary_lock(POOL, "b")
    assert await store.renew_primary_lock(POOL, "a", SHORT)

    async def is_free() -> bool:
        return await store.try_acquire_primary_lock(POOL, "b", HOUR)

    await eventually(is_free)
    assert not await store.renew_primary_lock(POOL, "a", HOUR)
    await store.release_primary_lock(POOL, "b")
    assert await store.try_acquire_primary_lock(POOL, "a", HOUR)


async def test_the_number_wanted_is_shared(store: Any) -> None:
    assert await store.get_max_idle(POOL) is None
    await store.set_max_idle(POOL, 7)
    assert await store.get_max_idle(POOL) == 7
    with pytest.raises(InvalidArgumentException):
        await store.set_max_idle(POOL, -1)


async def test_a_destroyed_name_is_shut_until_its_tombstone_expires(store: Any) -> None:
    await store.put_idle(POOL, "one")
    await store.set_max_idle(POOL, 3)
    await store.begin_destroy(POOL, "who")
    await store.begin_destroy(POOL, "another, who goes on")
    assert await store.get_destroy_state(POOL) is PoolDestroyState.DESTROYING
    for refused in (
        store.put_idle(POOL, "two"),
        store.set_max_idle(POOL, 1),
        store.set_idle_entry_ttl(POOL, HOUR),
    ):
        with pytest.raises(PoolDestroyedException, match="DESTROYING"):
            await refused
    assert not await store.try_acquire_primary_lock(POOL, "a", HOUR)
    assert await store.try_take_idle(POOL) == "one"
    await store.clear_pool_state(POOL)
    await store.mark_destroyed(POOL, "who", HOUR)
    with pytest.raises(PoolDestroyedException, match="DESTROYED"):
        await store.begin_destroy(POOL, "who")
    await store.mark_destroyed(POOL, "who", SHORT)

    async def is_free() -> bool:
        return await store.get_destroy_state(POOL) is PoolDestroyState.ACTIVE

    await eventually(is_free)
    assert await store.get_max_idle(POOL) is None
    await store.put_idle(POOL, "two")
    await store.mark_destroyed(POOL, "who", None)
    assert await store.get_destroy_state(POOL) is PoolDestroyState.DESTROYED


@pytest.mark.parametrize("blank", ["", "  "])
async def test_blank_names_are_refused(store: Any, blank: str) -> None:
    for refused in (
        store.put_idle(POOL, blank),
        store.put_idle(blank, "one"),
        store.try_acquire_primary_lock(POOL, blank, HOUR),
        store.begin_destroy(POOL, blank),
        store.mark_destroyed(POOL, blank, HOUR),
        store.set_idle_entry_ttl(POOL, timedelta(0)),
        store.mark_destroyed(POOL, "who", timedelta(0)),
    ):
        with pytest.raises(InvalidArgumentException):
            await refused


async def test_many_takers_at_once_are_each_given_another(colour: Colour, store: Any) -> None:
    names = [f"box-{number}" for number in range(60)]
    for name in names:
        await store.put_idle(POOL, name)

    taken = await asyncio.gather(
        *(colour.begin(store.try_take_idle(POOL)) for _ in range(len(names) + 20))
    )

    assert sorted(filter(None, taken)) == sorted(names)


async def test_a_store_without_lifetimes_of_its_own_is_asked_simply() -> None:
    class Plain:
        reaped = False

        async def try_take_idle(self, pool_name: str) -> str:
            return pool_name

        async def reap_expired_idle(self, pool_name: str, now: datetime) -> None:
            self.reaped = True

    plain: Any = Plain()
    assert (await try_take_idle_with_min_ttl_async(plain, "p", HOUR)).sandbox_id == "p"
    now = datetime.now(timezone.utc)
    assert await reap_expired_idle_with_min_ttl_async(plain, "p", now, HOUR) == ()
    assert plain.reaped


async def test_a_client_of_the_other_colour_is_refused(colour: Colour) -> None:
    other = BLOCKING if colour is ASYNC else ASYNC
    with pytest.raises(InvalidArgumentException, match="needs a redis"):
        colour.OnRedis(other.Client())


@pytest.mark.parametrize("decode", [True, False], ids=["texts", "bytes"])
async def test_a_client_may_decode_or_not(server: Redis, raw: redis.Redis, decode: bool) -> None:
    with redis.Redis(unix_socket_path=server.socket, decode_responses=decode) as client:
        store = BLOCKING.OnRedis(client, key_prefix="mine")
        store.put_idle(POOL, "bøx")
        store.set_max_idle(POOL, 2)
        assert [e.sandbox_id for e in store.snapshot_idle_entries(POOL)] == ["bøx"]
        assert (store.get_max_idle(POOL), store.try_take_idle(POOL)) == (2, "bøx")
        assert all(key.startswith(b"mine:") for key in raw.scan_iter())


async def test_a_redis_that_is_not_there_is_one_typed_error(colour: Colour, tmp_path: Any) -> None:
    client = colour.Client(unix_socket_path=str(tmp_path / "nobody"))
    store = colour.wrap(colour.OnRedis(client))
    with pytest.raises(PoolStateStoreUnavailableException, match="shop") as caught:
        await store.try_take_idle(POOL)
    assert caught.value.error.code == "POOL_STATE_STORE_UNAVAILABLE"
    assert caught.value.hint


@pytest.mark.parametrize("end", ["soon", "", "nan", "inf", "1e99", "-1", "0x7f", "9" * 40, "1.5"])
async def test_an_end_of_life_that_is_none_makes_a_sandbox_to_discard(
    on_redis: Any, raw: redis.Redis, end: str
) -> None:
    ids, ends, *_ = keys_of("opensandbox:pool", POOL)
    raw.rpush(ids, "odd", "unknown to the other key")
    raw.hset(ends, "odd", end)
    await on_redis.put_idle(POOL, "good")
    assert [e.sandbox_id for e in await on_redis.snapshot_idle_entries(POOL)] == ["good"]
    assert await on_redis.try_take_idle_min_ttl(POOL, MINUTE) == TakeIdleResult("good", ("odd",))
    raw.hset(ends, "odd", end)
    now = datetime.now(timezone.utc)
    assert await on_redis.reap_expired_idle_min_ttl(POOL, now, MINUTE) == ("odd",)
    assert raw.hlen(ends) == 0


async def test_hostile_values_are_dropped_or_one_typed_error(
    on_redis: Any, raw: redis.Redis
) -> None:
    keys = keys_of("opensandbox:pool", POOL)
    ids, ends, lock, max_idle, idle_ttl, fate, _ = keys
    for hostile in (b"\xff\xfe", b"\x80\x04\x95cos\nsystem\n", b"x" * 100_000, b""):
        raw.rpush(ids, hostile)
        raw.hset(ends, hostile, 2 * 10**12)
    assert await on_redis.snapshot_idle_entries(POOL) == []
    assert {await on_redis.try_take_idle(POOL) for _ in range(5)} == {None}
    raw.mset({max_idle: "many", idle_ttl: "long"})
    assert await on_redis.get_max_idle(POOL) is None
    await on_redis.put_idle(POOL, "good")
    assert await on_redis.try_take_idle(POOL) == "good"
    raw.set(fate, "LEASED")
    assert await on_redis.get_destroy_state(POOL) is PoolDestroyState.DESTROYING
    with pytest.raises(PoolDestroyedException):
        await on_redis.put_idle(POOL, "good")
    raw.delete(*keys)
    raw.lpush(ends, "a list")
    raw.hset(lock, "a", "hash")
    raw.set(ids, "text")
    for wrong in (
        on_redis.try_take_idle(POOL),
        on_redis.put_idle(POOL, "good"),
        on_redis.snapshot_idle_entries(POOL),
        on_redis.try_acquire_primary_lock(POOL, "a", HOUR),
    ):
        with pytest.raises(PoolStateStoreUnavailableException, match="WRONGTYPE"):
            await wrong
