"""What pools decide, by hand: no clock, no server, no store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    PoolAcquireFailedException,
    PoolEmptyException,
)
from opensandbox_jupyter.pool import (
    AcquirePolicy,
    AsyncPoolConfig,
    InMemoryPoolStateStore,
    PoolConfig,
    PoolCreationSpec,
    PoolDestroyOptions,
    PoolDestroyState,
)
from opensandbox_jupyter.pools import scripts
from opensandbox_jupyter.pools.rules import Allowance, Health, Search, replenishment

HEALTHY = Health(3)


@pytest.mark.parametrize(
    ("policy", "tries", "creates"),
    [
        (AcquirePolicy.FAIL_FAST, 1, False),
        (AcquirePolicy.DIRECT_CREATE, 1, True),
        (AcquirePolicy.RETRY_NEXT_IDLE, 4, False),
        (AcquirePolicy.RETRY_NEXT_IDLE_THEN_CREATE, 4, True),
    ],
)
def test_a_policy_says_how_often_to_try_and_what_then(
    policy: AcquirePolicy, tries: int, creates: bool
) -> None:
    search, cause = Search(policy, 4), OSError("gone")
    assert search.left == tries
    assert search.creates is creates
    assert isinstance(search.verdict(), PoolEmptyException) is not creates
    search.failed("box-1", cause)
    assert search.left == tries - 1
    verdict = search.verdict()
    if creates:
        assert verdict is None
    else:
        assert isinstance(verdict, PoolAcquireFailedException)
        assert verdict.cause is cause
        assert "box-1" in str(verdict)


def test_too_many_failures_degrade_a_pool_and_each_round_waits_longer() -> None:
    health = Health(2)
    health.failed(OSError("first"), 100.0)
    assert not health.is_degraded
    health.failed(OSError("second"), 100.0)
    assert health.is_degraded
    assert health.last_error == "second"
    assert health.is_waiting(100.9)
    assert not health.is_waiting(101.1)
    health.failed(OSError("in the same round"), 100.5)
    assert not health.is_waiting(101.1)
    health.failed(OSError("next round"), 101.1)
    assert health.is_waiting(103.0)
    for _ in range(50):
        health.failed(OSError(), 10_000.0)
    assert not health.is_waiting(10_031.0)
    health.succeeded()
    assert (health.failures, health.last_error, health.is_waiting(0.0)) == (0, None, False)


def test_so_many_warm_ups_begin_in_a_second() -> None:
    allowance = Allowance(10)
    assert allowance.whole(50.0) == 10
    allowance.use(10)
    assert allowance.whole(50.0) == 0
    assert allowance.whole(50.25) == 2
    assert allowance.whole(90.0) == 10


@pytest.mark.parametrize(
    ("wanted", "idle", "warming", "allowed", "count"),
    [
        (5, 0, 0, 10, 5),
        (5, 1, 3, 10, 1),
        (50, 0, 0, 10, 10),
        (5, 0, 5, 10, 0),
        (5, 9, 0, 10, -4),
        (0, 2, 1, 10, -2),
        (5, 0, 9, -4, 0),
    ],
)
def test_a_pool_is_filled_up_and_what_is_too_much_ends(
    wanted: int, idle: int, warming: int, allowed: int, count: int
) -> None:
    assert replenishment(wanted, idle, warming, allowed, HEALTHY) == count


def test_a_degraded_pool_tries_one_at_a_time() -> None:
    health = Health(1, failures=1)
    assert replenishment(5, 0, 0, 10, health) == 1
    assert replenishment(5, 0, 1, 10, health) == 0
    assert replenishment(1, 2, 0, 10, health) == -1


@pytest.mark.parametrize("config", [AsyncPoolConfig, PoolConfig])
@pytest.mark.parametrize(
    "wrong",
    [
        {"pool_name": " "},
        {"max_idle": -1},
        {"owner_id": " "},
        {"warmup_create_qps": 0},
        {"warmup_concurrency": 0},
        {"degraded_threshold": 0},
        {"max_acquire_retries": 0},
        {"primary_lock_ttl": timedelta(0)},
        {"idle_timeout": timedelta(0)},
        {"drain_timeout": timedelta(seconds=-1)},
        {"warmup_health_check_initial_delay": timedelta(seconds=-1)},
        {"acquire_min_remaining_ttl": timedelta(hours=24)},
        {"acquire_min_remaining_ttl": timedelta(seconds=-1)},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(config: Any, wrong: dict[str, Any]) -> None:
    good = {
        "pool_name": "p",
        "max_idle": 1,
        "state_store": InMemoryPoolStateStore(),
        "connection_config": None,
        "creation_spec": PoolCreationSpec("base"),
    }
    assert config(**good).owner_id.startswith("pool-owner-")
    with pytest.raises(InvalidArgumentException, match=next(iter(wrong)).replace("_", "[_ ]")):
        config(**good | wrong)


@pytest.mark.parametrize(
    ("idle", "least"), [(timedelta(hours=1), 60), (timedelta(seconds=20), 10)], ids=str
)
def test_a_short_life_has_a_short_minimum(idle: timedelta, least: float) -> None:
    config = PoolConfig(
        pool_name="p",
        max_idle=1,
        state_store=InMemoryPoolStateStore(),
        connection_config=None,  # type: ignore[arg-type]
        creation_spec=PoolCreationSpec("base"),
        idle_timeout=idle,
    )
    assert config.acquire_min_remaining_ttl == timedelta(seconds=least)
    assert config.with_max_idle(7).max_idle == 7


def test_a_destroy_with_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidArgumentException):
        PoolDestroyOptions(tombstone_ttl=timedelta(0))
    with pytest.raises(InvalidArgumentException):
        PoolDestroyOptions(drain_timeout=timedelta(seconds=-1))


def test_keys_are_those_of_the_vendors_sdks() -> None:
    assert scripts.keys_of("opensandbox:pool", "a/b c?")[:2] == [
        "opensandbox:pool:{YS9iIGM_}:idle:list",
        "opensandbox:pool:{YS9iIGM_}:idle:expires",
    ]


@pytest.mark.parametrize(
    "hostile", [b"", b"\xff\xfe", b" ", b"a\nb", b"x" * 257, "\x1b[2J", None], ids=repr
)
def test_what_is_no_id_is_dropped(hostile: Any) -> None:
    assert scripts.ids_of([b"box-1", hostile, "box-2"]) == ("box-1", "box-2")
    assert scripts.taken_of([hostile, [b"box-3"]]) == scripts.TakeIdleResult(None, ("box-3",))


@pytest.mark.parametrize("hostile", [b"-5", b"1e9", b"abc", b"", "\u0663", b"9" * 16, b"nan", None])
def test_what_is_no_number_is_none(hostile: Any) -> None:
    assert scripts.number_of(hostile) is None
    assert scripts.number_of(b"12") == 12


def test_an_unknown_fate_shuts_the_name() -> None:
    assert scripts.fate_of(None) is PoolDestroyState.ACTIVE
    assert scripts.fate_of(b"DESTROYED") is PoolDestroyState.DESTROYED
    assert scripts.fate_of("DESTROYING") is PoolDestroyState.DESTROYING
    assert scripts.fate_of(b"LEASED") is PoolDestroyState.DESTROYING
