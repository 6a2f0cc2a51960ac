"""Pools of warm sandboxes in both colours, on the embedded server."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import psutil
import pytest
from pooling import ASYNC, BLOCKING, Colour, House, eventually, full, idle_ids

from opensandbox_jupyter import Sandbox, SandboxManager, SandboxManagerSync, SandboxSync
from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    PoolAcquireFailedException,
    PoolDestroyedException,
    PoolDestroyIncompleteException,
    PoolEmptyException,
    PoolNotRunningException,
    SandboxApiException,
)
from opensandbox_jupyter.local import ensure_server
from opensandbox_jupyter.pool import (
    AcquirePolicy,
    PoolCreationSpec,
    PoolDestroyOptions,
    PoolDestroyState,
    PooledSandboxCreateReason,
    PoolLifecycleState,
    PoolState,
)

pytestmark = pytest.mark.timeout(240)
LIFETIME = timedelta(minutes=2)


@pytest.fixture(params=[ASYNC, BLOCKING], ids=lambda c: c.name)
def colour(request: pytest.FixtureRequest, embedded: Any) -> Colour:
    return request.param


@pytest.fixture
async def house(colour: Colour) -> AsyncIterator[House]:
    house = House(colour)
    yield house
    await house.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What holds hooks up until it is opened, at the end of the test at the latest."""
    gate = threading.Event()
    yield gate
    gate.set()


def kill(sandbox_id: str) -> None:
    with SandboxManagerSync.create() as manager:
        manager.kill_sandbox(sandbox_id)


def waiting_at(colour: Colour, gate: threading.Event, reached: threading.Event) -> Any:
    """Return a preparer that says that it is reached, and then waits at the gate."""
    if colour.is_blocking:

        def prepare(_: Any) -> None:
            reached.set()
            gate.wait()

        return prepare

    async def wait(_: Any) -> None:
        reached.set()
        await eventually(gate.is_set)

    return wait


async def draining(pool: Any) -> None:
    """Wait until a shutdown has begun."""

    async def is_draining() -> bool:
        return (await pool.snapshot()).state is PoolState.DRAINING

    await eventually(is_draining)


async def test_a_warm_sandbox_is_given_out_and_replaced(house: House) -> None:
    pool = await house.running(max_idle=2)
    first, second = await idle_ids(pool)

    before = datetime.now(timezone.utc)
    sandbox = await pool.acquire(LIFETIME, AcquirePolicy.FAIL_FAST)

    assert sandbox.id == first
    assert (await sandbox.commands.run("echo warm")).stdout == "warm\n"
    left = (await sandbox.get_info()).expires_at - before
    assert LIFETIME - timedelta(seconds=5) < left < LIFETIME + timedelta(minutes=1)
    await full(pool)
    assert first not in await idle_ids(pool)
    assert second in await idle_ids(pool)
    await sandbox.destroy()
    await pool.shutdown()
    assert await pool.release_all_idle() == 2
    assert house.sandboxes() == set()


async def test_many_at_once_are_each_given_another(house: House) -> None:
    pool = await house.running(max_idle=2)
    warm = set(await idle_ids(pool))

    found = await asyncio.gather(
        *(
            house.colour.begin(pool.acquire(LIFETIME, AcquirePolicy.RETRY_NEXT_IDLE))
            for _ in range(4)
        ),
        return_exceptions=True,
    )

    given = [one.id for one in found if not isinstance(one, BaseException)]
    assert len(given) == len(set(given)) >= 2
    assert warm <= set(given)
    for one in found:
        if isinstance(one, BaseException):
            assert isinstance(one, PoolEmptyException)
        else:
            await one.destroy()


async def test_an_empty_pool_does_as_the_policy_says(house: House) -> None:
    pool = await house.running(max_idle=0)
    for policy in AcquirePolicy:
        if "CREATE" in policy.value:
            sandbox = await pool.acquire(LIFETIME, policy)
            assert await sandbox.is_healthy()
            await sandbox.destroy()
        else:
            with pytest.raises(PoolEmptyException) as caught:
                await pool.acquire(LIFETIME, policy)
            assert caught.value.error.code == "POOL_EMPTY"
    assert house.sandboxes() == set()


async def test_a_sandbox_that_died_while_warm_is_not_given_out(house: House) -> None:
    pool = await house.running(max_idle=2)
    for policy in AcquirePolicy:
        dead, alive = await idle_ids(pool)
        kill(dead)
        if policy is AcquirePolicy.FAIL_FAST:
            with pytest.raises(PoolAcquireFailedException) as caught:
                await pool.acquire(LIFETIME, policy)
            assert isinstance(caught.value.cause, SandboxApiException)
        else:
            sandbox = await pool.acquire(LIFETIME, policy)
            assert (sandbox.id == alive) is ("RETRY" in policy.value)
            assert await sandbox.is_healthy()
            await sandbox.destroy()
        await full(pool)
        assert dead not in await idle_ids(pool)


async def test_what_is_about_to_expire_is_replaced_and_ended(house: House) -> None:
    pool = await house.running(
        idle_timeout=timedelta(seconds=60), acquire_min_remaining_ttl=timedelta(seconds=57)
    )
    (old,) = await idle_ids(pool)

    async def is_replaced() -> bool:
        ids = await idle_ids(pool)
        return bool(ids) and old not in ids

    await eventually(is_replaced)
    await eventually(lambda: old not in house.sandboxes())


async def test_hooks_see_each_new_sandbox_in_order(house: House) -> None:
    seen: list[tuple[str, str]] = []
    hook = house.colour.hook

    def saw(what: str, answer: Any, sandbox: Any) -> Any:
        seen.append((what, sandbox.id))
        return answer() if callable(answer) else answer

    def not_yet() -> bool:
        return sum(what == "health" for what, _ in seen) > 2

    pool = await house.running(
        warmup_health_check=hook(partial(saw, "health", not_yet)),
        warmup_health_check_initial_delay=timedelta(milliseconds=1),
        warmup_health_check_polling_interval=timedelta(milliseconds=5),
        warmup_sandbox_preparer=hook(partial(saw, "prepare", None)),
        warmup_post_prepare_health_check=hook(partial(saw, "ready", True)),
        acquire_health_check=hook(partial(saw, "acquire", True)),
    )
    sandbox = await pool.acquire(LIFETIME, AcquirePolicy.FAIL_FAST)
    await sandbox.destroy()

    mine = [what for what, sandbox_id in seen if sandbox_id == sandbox.id]
    assert mine[:5] == ["health"] * 3 + ["prepare", "ready"]
    assert mine[-1] == "acquire"


async def test_a_creator_makes_them_in_its_own_way(house: House) -> None:
    contexts: list[Any] = []

    def options(context: Any) -> dict[str, Any]:
        contexts.append(context)
        return {
            "timeout": context.idle_timeout,
            "metadata": {"pool": house.name, "made": "mine"},
            "connection_config": context.connection_config,
            "skip_health_check": context.skip_health_check,
        }

    if house.colour.is_blocking:

        def create(context: Any) -> Any:
            return SandboxSync.create("base", **options(context))

    else:

        async def create(context: Any) -> Any:
            return await Sandbox.create("base", **options(context))

    for max_idle, reason in (
        (1, PooledSandboxCreateReason.WARMUP),
        (0, PooledSandboxCreateReason.DIRECT_CREATE),
    ):
        pool = await house.running(max_idle=max_idle, sandbox_creator=create, owner_id="me")
        sandbox = await pool.acquire(LIFETIME)
        assert (await sandbox.get_info()).metadata["made"] == "mine"
        await sandbox.destroy()
        await pool.shutdown()
        assert contexts[-1].reason is reason
        assert contexts[-1].skip_health_check is (reason is PooledSandboxCreateReason.WARMUP)
        assert (contexts[-1].pool_name, contexts[-1].owner_id) == (house.name, "me")


async def test_failures_degrade_a_pool_until_a_warm_up_goes_well(house: House) -> None:
    broken = threading.Event()
    broken.set()

    def prepare(_: Any) -> None:
        if broken.is_set():
            raise ValueError("no such dataset")

    pool = house.pool(
        max_idle=2,
        degraded_threshold=2,
        warmup_create_qps=1,
        warmup_sandbox_preparer=house.colour.hook(prepare),
    )
    await pool.start()

    async def is_degraded() -> bool:
        return (await pool.snapshot()).state is PoolState.DEGRADED

    await eventually(is_degraded)
    snapshot = await pool.snapshot()
    assert snapshot.failure_count >= 2
    assert snapshot.last_error == "no such dataset"
    with pytest.raises(PoolEmptyException):
        await pool.acquire(policy=AcquirePolicy.FAIL_FAST)
    broken.clear()

    async def is_healthy() -> bool:
        return (await pool.snapshot()).state is PoolState.HEALTHY

    await eventually(is_healthy)
    snapshot = await pool.snapshot()
    assert (snapshot.failure_count, snapshot.last_error) == (0, None)
    await full(pool)
    assert house.sandboxes() == set(await idle_ids(pool))


@pytest.mark.parametrize("step", ["creator", "health", "post"])
async def test_a_failed_warm_up_leaves_no_sandbox(house: House, step: str) -> None:
    def fail(*_: Any) -> bool:
        raise ValueError("not today")

    hook, short = house.colour.hook(fail), timedelta(milliseconds=20)
    settings = {
        "creator": {"sandbox_creator": hook},
        "health": {"warmup_health_check": hook, "warmup_ready_timeout": short},
        "post": {
            "warmup_post_prepare_health_check": hook,
            "warmup_post_prepare_health_check_timeout": short,
        },
    }[step]
    pool = house.pool(**settings)
    await pool.start()

    async def has_failed() -> bool:
        return (await pool.snapshot()).failure_count > 0

    await eventually(has_failed)
    assert "not today" in (await pool.snapshot()).last_error
    await pool.shutdown()
    assert house.sandboxes() == set()


async def test_a_pool_grows_and_shrinks(house: House) -> None:
    pool = await house.running(max_idle=1)
    await pool.resize(3)
    await full(pool)
    assert len(await idle_ids(pool)) == 3
    await pool.resize(1)
    await full(pool)
    (left,) = await idle_ids(pool)
    await eventually(lambda: house.sandboxes() == {left})
    with pytest.raises(InvalidArgumentException):
        await pool.resize(-1)


async def test_pools_of_one_name_share_their_sandboxes_and_one_fills(house: House) -> None:
    store = house.colour.Memory()
    one = await house.running(max_idle=2, state_store=store)
    two = await house.running(max_idle=2, state_store=store)
    ids = await idle_ids(one)
    assert ids == await idle_ids(two)
    assert house.sandboxes() == set(ids)
    sandbox = await two.acquire(LIFETIME, AcquirePolicy.FAIL_FAST)
    assert sandbox.id == ids[0]
    await sandbox.destroy()
    await one.shutdown()
    await full(two)


async def test_a_graceful_shutdown_lets_warm_ups_end(house: House, gate: threading.Event) -> None:
    reached = threading.Event()
    prepare = waiting_at(house.colour, gate, reached)
    pool = house.pool(warmup_sandbox_preparer=prepare)
    await pool.start()
    await eventually(reached.is_set)
    ending = house.colour.begin(pool.shutdown())
    await draining(pool)
    with pytest.raises(PoolNotRunningException, match="DRAINING"):
        await pool.acquire()
    gate.set()
    await ending
    snapshot = await pool.snapshot()
    assert (snapshot.state, snapshot.idle_count) == (PoolState.STOPPED, 1)
    assert house.sandboxes() == set(await idle_ids(pool))


async def test_a_shutdown_at_once_ends_what_is_being_warmed_up(
    house: House, gate: threading.Event
) -> None:
    reached = threading.Event()
    prepare = waiting_at(house.colour, gate, reached)
    pool = house.pool(max_idle=2, warmup_sandbox_preparer=prepare)
    await pool.start()
    await eventually(reached.is_set)
    ending = house.colour.begin(pool.shutdown(graceful=False))
    if house.colour.is_blocking:
        await draining(pool)
        gate.set()  # nobody can cancel a thread
    await ending
    assert (await pool.snapshot()).idle_count == 0
    assert house.sandboxes() == set()


async def test_nothing_is_left_behind_after_a_shutdown(house: House) -> None:
    def busy() -> list[Any]:
        port = int(ensure_server().url.rpartition(":")[2])
        sockets = [s for s in psutil.Process().net_connections("tcp") if s.raddr]
        threads = {t.name for t in threading.enumerate() if t.name.startswith("opensandbox-")}
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        return [*threads, *tasks, *(s for s in sockets if s.raddr.port == port)]

    before = len(busy())
    pool = await house.running(max_idle=2)
    await (await pool.acquire(LIFETIME)).destroy()
    assert busy()
    await pool.shutdown()
    await pool.release_all_idle_parallel(max_workers=1)

    assert len(busy()) == before
    assert house.sandboxes() == set()


async def test_a_pool_starts_again_with_what_was_left(house: House) -> None:
    pool = await house.running()
    await pool.start()  # it runs already
    (kept,) = await idle_ids(pool)
    await pool.shutdown()
    await pool.shutdown()
    snapshot = await pool.snapshot()
    assert (snapshot.state, snapshot.idle_count) == (PoolState.STOPPED, 1)
    with pytest.raises(PoolNotRunningException):
        await pool.acquire()
    await pool.start()
    sandbox = await pool.acquire(LIFETIME)
    assert sandbox.id == kept
    await sandbox.destroy()


async def test_a_pool_that_was_not_started_gives_nothing(house: House) -> None:
    pool = house.pool()
    assert (await pool.snapshot()).lifecycle_state is PoolLifecycleState.NOT_STARTED
    with pytest.raises(PoolNotRunningException, match="NOT_STARTED"):
        await pool.acquire()
    await pool.shutdown()
    assert (await pool.snapshot()).lifecycle_state is PoolLifecycleState.STOPPED
    with pytest.raises(InvalidArgumentException):
        await pool.release_all_idle_parallel(0)


async def test_a_failed_hand_over_ends_the_sandbox(house: House) -> None:
    pool = await house.running()
    with pytest.raises(InvalidArgumentException):
        await pool.acquire(timedelta(seconds=-1))
    await full(pool)
    await eventually(lambda: len(house.sandboxes()) == 1)


async def test_a_destroyed_pool_stops_while_others_acquire(house: House) -> None:
    store = house.colour.Memory()
    pool = await house.running(max_idle=2, state_store=store)
    given: list[Any] = []

    async def take_all(policy: AcquirePolicy) -> None:
        with pytest.raises(PoolDestroyedException):
            while True:
                with suppress(PoolEmptyException):
                    given.append(await house.colour.begin(pool.acquire(LIFETIME, policy)))

    policies = (AcquirePolicy.FAIL_FAST, AcquirePolicy.DIRECT_CREATE)
    taking = [asyncio.ensure_future(take_all(policy)) for policy in policies]
    await eventually(lambda: bool(given))
    manager = house.colour.wrap(house.colour.Manager(state_store=store))
    result = await house.colour.begin(manager.destroy(house.name))
    await asyncio.gather(*taking)

    assert result.state is PoolDestroyState.DESTROYED
    assert result.drained_idle_count == result.killed_idle_count
    assert result.persistent_state_cleared

    async def is_stopped() -> bool:
        return (await pool.snapshot()).state is PoolState.STOPPED

    await eventually(is_stopped)
    assert (await pool.snapshot()).idle_count == 0
    for refused in (pool.start(), pool.acquire(), pool.resize(3)):
        with pytest.raises(PoolDestroyedException):
            await refused
    await pool.shutdown()
    await eventually(lambda: house.sandboxes() == {sandbox.id for sandbox in given})
    again = await manager.destroy(house.name)
    assert (again.drained_idle_count, again.persistent_state_cleared) == (0, False)
    for sandbox in given:
        await sandbox.destroy()


async def test_a_destroy_that_cannot_end_a_sandbox_says_so_and_goes_on_later(
    house: House,
) -> None:
    store = house.colour.Memory()
    pool = await house.running(state_store=store)
    await pool.shutdown()
    ids = await idle_ids(pool)
    away = house.colour.Config(domain="127.0.0.1:9", api_key="none")
    lost = house.colour.Manager(state_store=store, connection_config=away)

    with pytest.raises(PoolDestroyIncompleteException, match=ids[0]):
        await house.colour.wrap(lost).destroy(house.name)

    assert await idle_ids(pool) == ids
    with pytest.raises(PoolDestroyedException):
        await pool.start()
    manager = house.colour.wrap(house.colour.Manager(state_store=store))
    options = PoolDestroyOptions(tombstone_ttl=timedelta(milliseconds=1))
    assert (await manager.destroy(house.name, options)).killed_idle_count == 1
    assert house.sandboxes() == set()

    async def is_usable() -> bool:
        state = await house.colour.wrap(store).get_destroy_state(house.name)
        return state is PoolDestroyState.ACTIVE

    await eventually(is_usable)
    await pool.start()


async def test_a_context_manager_starts_and_shuts_down(house: House) -> None:
    pool = house.pool(max_idle=0)
    async with pool:
        assert (await pool.snapshot()).state is PoolState.HEALTHY
    assert (await pool.snapshot()).state is PoolState.STOPPED


async def test_a_sandbox_that_cannot_be_ended_now_is_ended_later(house: House) -> None:
    refusing = threading.Event()
    refusing.set()
    managers: Any = SandboxManagerSync if house.colour.is_blocking else SandboxManager

    def factory(config: Any) -> Any:
        if refusing.is_set():
            raise ConnectionError("the server is away")
        return managers.create(config)

    pool = await house.running(max_idle=2, sandbox_manager_factory=factory)
    await pool.resize(1)
    await full(pool)
    assert len(house.sandboxes()) == 2
    refusing.clear()
    await eventually(lambda: len(house.sandboxes()) == 1)


async def test_a_cancelled_acquire_loses_no_sandbox(embedded: Any) -> None:
    house = House(ASYNC)
    pool = await house.running()
    try:
        for moment in (0, 1, 2, 5, 13, 34):
            acquiring = asyncio.ensure_future(pool.acquire(LIFETIME))
            for _ in range(moment):
                await asyncio.sleep(0)
            acquiring.cancel()
            await asyncio.wait({acquiring})
            if not acquiring.cancelled():  # asyncio may drop a cancellation that comes too late
                await (await acquiring).destroy()
            await full(pool)
        await pool.shutdown()
        assert house.sandboxes() == set(await idle_ids(pool))
    finally:
        await house.close()


async def test_a_cancelled_create_loses_no_sandbox(embedded: Any) -> None:
    house = House(ASYNC)
    pool = await house.running(max_idle=0)
    try:
        acquiring = asyncio.ensure_future(pool.acquire(LIFETIME))
        await eventually(lambda: bool(house.sandboxes()) or acquiring.done())
        acquiring.cancel()
        await asyncio.wait({acquiring})
        if not acquiring.cancelled():
            await (await acquiring).destroy()
        await pool.shutdown()
        assert house.sandboxes() == set()
    finally:
        await house.close()


def test_an_interrupted_acquire_loses_no_sandbox(embedded: Any, gate: threading.Event) -> None:
    house, reached, made = House(BLOCKING), threading.Event(), threading.Event()

    def create(context: Any) -> SandboxSync:
        reached.set()
        gate.wait()
        sandbox = SandboxSync.create(
            "base", timeout=context.idle_timeout, metadata={"pool": house.name}
        )
        made.set()
        return sandbox

    def interrupt() -> None:
        reached.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    pool = house.pool(max_idle=0, sandbox_creator=create)._inner
    pool.start()
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.acquire(LIFETIME)
        assert house.sandboxes() == set()
        gate.set()
        pool.shutdown()
        asyncio.run(eventually(lambda: made.is_set() and house.sandboxes() == set()))
    finally:
        asyncio.run(house.close())


async def test_a_sandbox_taken_during_a_cancellation_is_ended(
    embedded: Any, gate: threading.Event
) -> None:
    taking = threading.Event()

    class Slow(ASYNC.Memory):
        async def try_take_idle_min_ttl(self, pool_name: str, least: timedelta) -> Any:
            taken = await super().try_take_idle_min_ttl(pool_name, least)
            taking.set()
            await eventually(gate.is_set)  # the answer is on its way
            return taken

    house = House(ASYNC)
    pool = await house.running(state_store=Slow(), creation_spec=PoolCreationSpec("base"))
    try:
        (warm,) = await idle_ids(pool)
        acquiring = asyncio.ensure_future(pool.acquire(LIFETIME))
        await eventually(taking.is_set)
        acquiring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await acquiring
        gate.set()
        with SandboxManagerSync.create() as manager:
            page = manager.list_sandbox_infos
            await eventually(lambda: warm not in {i.id for i in page().sandbox_infos})
        await pool.shutdown(False)
        await pool.release_all_idle()
    finally:
        await house.close()
