"""The state of pools in a Redis, shared by all programs that use it.

Generated from ``pools/redis.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    PoolStateStoreUnavailableException,
)
from opensandbox_jupyter.models.durations import lasting
from opensandbox_jupyter.pools import scripts
from opensandbox_jupyter.pools.rules import checked_max_idle, shut
from opensandbox_jupyter.pools.types import (
    IdleEntry,
    PoolDestroyState,
    StoreCounters,
    TakeIdleResult,
)
from opensandbox_jupyter.sync.connection import checked_id

try:
    from redis import Redis
    from redis.exceptions import RedisError
except ImportError as missing:
    raise ImportError(
        "The package redis is needed: pip install 'opensandbox-jupyter[redis]'"
    ) from missing

__all__ = ["RedisPoolStateStore"]

_DEFAULT_TTL = timedelta(hours=24)
_NOTHING = timedelta(0)


class RedisPoolStateStore:
    """The state of pools in a Redis of version 5 or later.

    Every program whose store has the same Redis and the same ``key_prefix`` shares the pools,
    those of OpenSandbox's own SDKs too. Every method raises ``PoolStateStoreUnavailableException``
    when Redis does not answer, or holds something else under these keys.

    Args:
        redis: a client of redis-py; it stays the caller's, who closes it.
        key_prefix: what all keys begin with.

    Raises:
        InvalidArgumentException: for a client of the other colour.
    """

    DEFAULT_KEY_PREFIX = "opensandbox:pool"

    def __init__(self, redis: Redis, key_prefix: str = DEFAULT_KEY_PREFIX) -> None:
        if not isinstance(redis, Redis):
            raise InvalidArgumentException(
                f"{type(self).__name__} needs a {Redis.__module__.rpartition('.')[0]}.Redis.",
                hint="The async store takes redis.asyncio.Redis, the blocking one redis.Redis.",
            )
        self._redis = redis
        self._key_prefix = key_prefix

    def try_take_idle(self, pool_name: str) -> str | None:
        """Take the sandbox that has waited longest."""
        return (self.try_take_idle_min_ttl(pool_name, _NOTHING)).sandbox_id

    def try_take_idle_min_ttl(self, pool_name: str, min_remaining_ttl: timedelta) -> TakeIdleResult:
        """Take the first sandbox that lives longer than that; leave out those before it."""
        least = max(0, scripts.millis(min_remaining_ttl))
        return scripts.taken_of(self._run(scripts.TAKE, pool_name, least))

    def put_idle(self, pool_name: str, sandbox_id: str) -> None:
        """Add a warm sandbox; one that is there already stays as it is."""
        ttl = scripts.millis(_DEFAULT_TTL)
        self._write(scripts.PUT, pool_name, checked_id(sandbox_id), ttl)

    def remove_idle(self, pool_name: str, sandbox_id: str) -> None:
        """Forget a warm sandbox."""
        self._run(scripts.REMOVE, pool_name, sandbox_id)

    def try_acquire_primary_lock(self, pool_name: str, owner_id: str, ttl: timedelta) -> bool:
        """Become the one who fills the pool, unless another one is."""
        return self._lead(scripts.ACQUIRE_LOCK, pool_name, owner_id, ttl)

    def renew_primary_lock(self, pool_name: str, owner_id: str, ttl: timedelta) -> bool:
        """Stay the one who fills the pool, if that is so."""
        return self._lead(scripts.RENEW_LOCK, pool_name, owner_id, ttl)

    def release_primary_lock(self, pool_name: str, owner_id: str) -> None:
        """Let another one fill the pool."""
        self._run(scripts.RELEASE_LOCK, pool_name, owner_id)

    def reap_expired_idle(self, pool_name: str, now: datetime) -> None:
        """Forget the sandboxes that have ended by themselves, by the clock of Redis."""
        self.reap_expired_idle_min_ttl(pool_name, now, _NOTHING)

    def reap_expired_idle_min_ttl(
        self, pool_name: str, now: datetime, min_remaining_ttl: timedelta
    ) -> tuple[str, ...]:
        """Forget those that live no longer than that, and return those that still live."""
        least = max(0, scripts.millis(min_remaining_ttl))
        return scripts.ids_of(self._run(scripts.REAP, pool_name, least))

    def snapshot_counters(self, pool_name: str) -> StoreCounters:
        """Count the warm sandboxes."""
        return StoreCounters(len(self.snapshot_idle_entries(pool_name)))

    def snapshot_idle_entries(self, pool_name: str) -> list[IdleEntry]:
        """List the warm sandboxes, the one that waits longest first."""
        return scripts.entries_of(self._run(scripts.ENTRIES, pool_name))

    def get_max_idle(self, pool_name: str) -> int | None:
        """Return how many warm sandboxes there shall be, if that was said."""
        return scripts.number_of(self._run(scripts.MAX_IDLE, pool_name))

    def set_max_idle(self, pool_name: str, max_idle: int) -> None:
        """Say how many warm sandboxes there shall be."""
        self._write(scripts.SET_MAX_IDLE, pool_name, checked_max_idle(max_idle))

    def set_idle_entry_ttl(self, pool_name: str, idle_ttl: timedelta) -> None:
        """Say how long a sandbox lives after it was put (24 hours)."""
        self._write(scripts.SET_IDLE_TTL, pool_name, _span(idle_ttl, "idle_ttl"))

    def get_destroy_state(self, pool_name: str) -> PoolDestroyState:
        """Return whether the name may be used."""
        return scripts.fate_of(self._run(scripts.DESTROY_STATE, pool_name))

    def begin_destroy(self, pool_name: str, owner_id: str) -> None:
        """Shut the name.

        Raises:
            PoolDestroyedException: when it is destroyed already.
        """
        self._write(scripts.BEGIN_DESTROY, pool_name, checked_id(owner_id, "owner id"))

    def clear_pool_state(self, pool_name: str) -> None:
        """Forget all about the pool but that it is being destroyed."""
        self._run(scripts.CLEAR, pool_name)

    def mark_destroyed(
        self, pool_name: str, owner_id: str, tombstone_ttl: timedelta | None
    ) -> None:
        """Keep the name shut for so long, ``None`` for ever."""
        checked_id(owner_id, "owner id")
        ttl = (
            ""
            if tombstone_ttl is None
            else max(1, scripts.millis(lasting(tombstone_ttl, "tombstone_ttl")))
        )
        self._run(scripts.MARK_DESTROYED, pool_name, owner_id, ttl)

    def _lead(self, script: str, pool_name: str, owner_id: str, ttl: timedelta) -> bool:
        owner = checked_id(owner_id, "owner id")
        return bool(self._run(script, pool_name, owner, _span(ttl, "ttl")))

    def _write(self, script: str, pool_name: str, *arguments: str | int) -> None:
        """Run a script that answers 1, or why the name is shut."""
        answer = self._run(script, pool_name, *arguments)
        if answer != 1:
            raise shut(pool_name, scripts.fate_of(answer))

    def _run(self, script: str, pool_name: str, *arguments: str | int) -> Any:
        keys = scripts.keys_of(self._key_prefix, pool_name)
        try:
            return self._redis.register_script(script)(keys=keys, args=list(arguments))
        except (RedisError, OSError, UnicodeDecodeError) as cause:
            raise PoolStateStoreUnavailableException(
                f"Redis did not do its part for the pool {pool_name!r}: {cause}",
                cause=cause,
                hint="Is it running and reached, and are the pool's keys its own?",
            ) from cause


def _span(value: timedelta, what: str) -> int:
    """Return milliseconds, one at least, as Redis takes no expiry of zero."""
    return max(1, scripts.millis(lasting(value, what)))
