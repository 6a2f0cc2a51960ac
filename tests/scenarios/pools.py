"""Pools of warm sandboxes, in one program."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any

from scenarios import sdk
from scenarios.colours import Awaited, awaited

_root = import_module(sdk.PACKAGE)
types = import_module(f"{sdk.PACKAGE}.pool_types")
Policy = types.AcquirePolicy
_COLOUR = "Sync" if sdk.BLOCKING else "Async"
_Pool = getattr(_root, f"SandboxPool{_COLOUR}")
_Manager = getattr(_root, f"SandboxPoolManager{_COLOUR}")
_Store = getattr(_root, f"InMemory{'' if sdk.BLOCKING else 'Async'}PoolStateStore")
LIFETIME = timedelta(minutes=2)


def _face(value: Any) -> Any:
    return Awaited(value) if sdk.BLOCKING else value


class _House:
    """A pool, and which sandboxes are of it."""

    def __init__(self, max_idle: int, **options: Any) -> None:
        self.name = f"pool-{uuid.uuid4().hex[:8]}"
        self.label = {"scenario": sdk.TAG, "pool": self.name}
        self.store = _Store()
        pool = _Pool(
            pool_name=self.name,
            max_idle=max_idle,
            state_store=self.store,
            connection_config=sdk.connection(),
            creation_spec=types.PoolCreationSpec(image=sdk.IMAGE, metadata=self.label),
            idle_timeout=timedelta(minutes=5),
            warmup_health_check_polling_interval=timedelta(milliseconds=50),
            acquire_ready_timeout=timedelta(seconds=20),
            **options,
        )
        self.pool = _face(pool)

    async def full(self, count: int) -> list[str]:
        """Wait until there are so many warm sandboxes; return their ids."""

        async def ids() -> list[str]:
            return [one.sandbox_id for one in await self.pool.snapshot_idle_entries()]

        return await sdk.until(ids, lambda found: len(found) == count)

    async def left(self) -> set[str]:
        """Return the sandboxes of this pool that the server knows."""
        which = sdk.sandboxes.SandboxFilter(metadata=self.label)
        async with await sdk.manager() as manager:
            page = await manager.list_sandbox_infos(which)
        return {info.id for info in page.sandbox_infos if info.status.state == "Running"}

    async def end(self) -> None:
        """Shut the pool down; nothing is left of it."""
        await self.pool.shutdown()
        await self.pool.release_all_idle()
        await sdk.until(self.left, lambda found: not found)


async def _fails(kind: str, call: Awaitable[Any], code: str) -> None:
    try:
        found = await call
    except getattr(sdk.exceptions, kind) as error:
        assert error.error.code == code, error
        return
    raise AssertionError(f"it did not fail: {found!r}")


async def _hands_out(house: _House, policy: Any) -> str:
    """Acquire a sandbox, use it, and end it; return its id."""
    sandbox = await house.pool.acquire(LIFETIME, policy)
    assert (await sandbox.commands.run("echo mine")).text == "mine"
    left = (await sandbox.get_info()).expires_at - datetime.now(timezone.utc)
    assert timedelta(0) < left <= LIFETIME, left
    await sandbox.kill()
    await sandbox.close()
    return sandbox.id


async def gives_out_warm_sandboxes_and_makes_new_ones() -> None:
    prepared: list[str] = []

    async def prepare(sandbox: Any) -> None:
        await awaited(sandbox).files.write_file("/tmp/prepared", "yes")
        prepared.append(sandbox.id)

    house = _House(2, warmup_sandbox_preparer=sdk.handler(prepare))
    pool = house.pool
    await pool.start()
    first, second = await house.full(2)
    told = await pool.snapshot()
    assert (told.state, told.lifecycle_state) == (
        types.PoolState.HEALTHY, types.PoolLifecycleState.RUNNING,
    )  # fmt: skip
    assert (told.idle_count, told.max_idle, told.failure_count) == (2, 2, 0)
    assert (told.last_error, told.backoff_active) == (None, False)
    assert {first, second} == set(prepared)
    sandbox = await pool.acquire(policy=Policy.FAIL_FAST)
    assert sandbox.id == first
    assert await sandbox.files.read_file("/tmp/prepared") == "yes"
    assert first not in await house.full(2)
    await sandbox.kill()
    await sandbox.close()
    await house.end()
    assert (await pool.snapshot()).lifecycle_state is types.PoolLifecycleState.STOPPED


async def is_made_larger_and_smaller() -> None:
    house = _House(1)
    await house.pool.start()
    (first,) = await house.full(1)
    await house.pool.resize(2)
    assert first in await house.full(2)
    assert (await house.pool.snapshot()).max_idle == 2
    await house.pool.resize(0)
    await house.full(0)
    await sdk.until(house.left, lambda found: not found)
    await house.end()


async def does_as_the_policy_says_when_none_is_ready() -> None:
    house = _House(0)
    await house.pool.start()
    for policy in (Policy.FAIL_FAST, Policy.RETRY_NEXT_IDLE):
        await _fails("PoolEmptyException", house.pool.acquire(LIFETIME, policy), "POOL_EMPTY")
    for policy in (Policy.DIRECT_CREATE, Policy.RETRY_NEXT_IDLE_THEN_CREATE):
        await _hands_out(house, policy)
    await house.end()


async def does_as_the_policy_says_when_one_was_ended_by_others() -> None:
    house = _House(2)
    await house.pool.start()
    async with await sdk.manager() as manager:
        for policy in (Policy.FAIL_FAST, Policy.RETRY_NEXT_IDLE):
            first, second = await house.full(2)
            await manager.kill_sandbox(first)
            if policy is Policy.FAIL_FAST:
                failing = house.pool.acquire(LIFETIME, policy)
                await _fails("PoolAcquireFailedException", failing, "POOL_ACQUIRE_FAILED")
            else:
                assert await _hands_out(house, policy) == second
    await house.end()


async def is_used_only_while_it_runs() -> None:
    house = _House(1)
    pool = house.pool
    stopped = ("PoolNotRunningException", "POOL_NOT_RUNNING")
    await _fails(stopped[0], pool.acquire(), stopped[1])
    for graceful in (True, False):
        await pool.start()
        await pool.start()
        await house.full(1)
        await pool.shutdown(graceful=graceful)
        await pool.shutdown(graceful=graceful)
        await _fails(stopped[0], pool.acquire(), stopped[1])
        assert len(await house.full(1)) == 1
    await house.end()


async def waits_for_its_warm_ups_or_gives_them_up() -> None:
    begun: list[str] = []

    async def prepare(sandbox: Any) -> None:
        begun.append(sandbox.id)
        await sdk.pause(0.5)

    for graceful in (True, False):
        begun.clear()
        house = _House(1, warmup_sandbox_preparer=sdk.handler(prepare))
        await house.pool.start()

        async def known() -> list[str]:
            return begun

        await sdk.until(known, bool)
        await house.pool.shutdown(graceful=graceful)
        kept = {one.sandbox_id for one in await house.pool.snapshot_idle_entries()}
        await sdk.until(house.left, lambda found, kept=kept: found == kept)
        await house.end()


async def is_destroyed() -> None:
    house = _House(1)
    await house.pool.start()
    await house.full(1)
    await house.pool.shutdown()
    manager = _face(_Manager(state_store=house.store, connection_config=sdk.connection()))
    result = await manager.destroy(house.name)
    assert (result.state, result.killed_idle_count) == (types.PoolDestroyState.DESTROYED, 1)
    assert result.persistent_state_cleared
    await _fails("PoolDestroyedException", house.pool.start(), "POOL_DESTROYED")
    await sdk.until(house.left, lambda found: not found)
