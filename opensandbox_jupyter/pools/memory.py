"""The state of pools in the memory of this process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from opensandbox_jupyter.connection import checked_id
from opensandbox_jupyter.models.durations import lasting
from opensandbox_jupyter.pools.rules import checked_max_idle, shut
from opensandbox_jupyter.pools.types import (
    IdleEntry,
    PoolDestroyState,
    StoreCounters,
    TakeIdleResult,
)

__all__ = ["InMemoryAsyncPoolStateStore"]

_DEFAULT_TTL = timedelta(hours=24)
_NEVER = datetime.max.replace(tzinfo=timezone.utc)
_NOTHING = timedelta(0)


@dataclass
class _Pool:
    idle: dict[str, datetime] = field(default_factory=dict)  # the oldest first
    idle_ttl: timedelta = _DEFAULT_TTL
    max_idle: int | None = None
    primary: tuple[str, datetime] | None = None


class InMemoryAsyncPoolStateStore:
    """The state of pools, by name, for the pools of one process.

    Pools that are given the same store share their warm sandboxes, and one of them keeps the
    store filled. May be shared by threads and event loops: no method waits for anything.
    """

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}
        self._shut: dict[str, tuple[PoolDestroyState, datetime]] = {}
        self._lock = threading.Lock()

    async def try_take_idle(self, pool_name: str) -> str | None:
        """Take the sandbox that has waited longest."""
        return (await self.try_take_idle_min_ttl(pool_name, _NOTHING)).sandbox_id

    async def try_take_idle_min_ttl(
        self, pool_name: str, min_remaining_ttl: timedelta
    ) -> TakeIdleResult:
        """Take the first sandbox that lives longer than that; leave out those before it."""
        with self._lock:
            now, idle = _now(), self._pool(pool_name).idle
            discarded: list[str] = []
            while idle:
                sandbox_id = next(iter(idle))
                left = idle.pop(sandbox_id) - now
                if left > max(min_remaining_ttl, _NOTHING):
                    return TakeIdleResult(sandbox_id, tuple(discarded))
                if left > _NOTHING:
                    discarded.append(sandbox_id)
            return TakeIdleResult(None, tuple(discarded))

    async def put_idle(self, pool_name: str, sandbox_id: str) -> None:
        """Add a warm sandbox; one that is there already stays as it is."""
        checked_id(sandbox_id)
        with self._lock:
            pool = self._active(pool_name)
            pool.idle.setdefault(sandbox_id, _now() + pool.idle_ttl)

    async def remove_idle(self, pool_name: str, sandbox_id: str) -> None:
        """Forget a warm sandbox."""
        with self._lock:
            self._pool(pool_name).idle.pop(sandbox_id, None)

    async def try_acquire_primary_lock(self, pool_name: str, owner_id: str, ttl: timedelta) -> bool:
        """Become the one who fills the pool, unless another one is."""
        return self._lead(pool_name, owner_id, ttl, anew=True)

    async def renew_primary_lock(self, pool_name: str, owner_id: str, ttl: timedelta) -> bool:
        """Stay the one who fills the pool, if that is so."""
        return self._lead(pool_name, owner_id, ttl, anew=False)

    async def release_primary_lock(self, pool_name: str, owner_id: str) -> None:
        """Let another one fill the pool."""
        with self._lock:
            pool = self._pool(pool_name)
            if pool.primary is not None and pool.primary[0] == owner_id:
                pool.primary = None

    async def reap_expired_idle(self, pool_name: str, now: datetime) -> None:
        """Forget the sandboxes that have ended by themselves."""
        await self.reap_expired_idle_min_ttl(pool_name, now, _NOTHING)

    async def reap_expired_idle_min_ttl(
        self, pool_name: str, now: datetime, min_remaining_ttl: timedelta
    ) -> tuple[str, ...]:
        """Forget those that live no longer than that, and return those that still live."""
        with self._lock:
            idle = self._pool(pool_name).idle
            short = {one: end for one, end in idle.items() if end - now <= min_remaining_ttl}
            for sandbox_id in short:
                del idle[sandbox_id]
            return tuple(sandbox_id for sandbox_id, end in short.items() if end > now)

    async def snapshot_counters(self, pool_name: str) -> StoreCounters:
        """Count the warm sandboxes."""
        return StoreCounters(len(await self.snapshot_idle_entries(pool_name)))

    async def snapshot_idle_entries(self, pool_name: str) -> list[IdleEntry]:
        """List the warm sandboxes, the one that waits longest first."""
        with self._lock:
            now, idle = _now(), self._pool(pool_name).idle
            return [IdleEntry(sandbox_id, end) for sandbox_id, end in idle.items() if end > now]

    async def get_max_idle(self, pool_name: str) -> int | None:
        """Return how many warm sandboxes there shall be, if that was said."""
        with self._lock:
            return self._pool(pool_name).max_idle

    async def set_max_idle(self, pool_name: str, max_idle: int) -> None:
        """Say how many warm sandboxes there shall be."""
        with self._lock:
            self._active(pool_name).max_idle = checked_max_idle(max_idle)

    async def set_idle_entry_ttl(self, pool_name: str, idle_ttl: timedelta) -> None:
        """Say how long a sandbox lives after it was put (24 hours)."""
        with self._lock:
            self._active(pool_name).idle_ttl = lasting(idle_ttl, "idle_ttl")

    async def get_destroy_state(self, pool_name: str) -> PoolDestroyState:
        """Return whether the name may be used."""
        with self._lock:
            return self._state(pool_name)

    async def begin_destroy(self, pool_name: str, owner_id: str) -> None:
        """Shut the name.

        Raises:
            PoolDestroyedException: when it is destroyed already.
        """
        checked_id(owner_id, "owner id")
        with self._lock:
            if self._state(pool_name) is PoolDestroyState.DESTROYED:
                raise shut(pool_name, PoolDestroyState.DESTROYED)
            self._shut[pool_name] = (PoolDestroyState.DESTROYING, _NEVER)

    async def clear_pool_state(self, pool_name: str) -> None:
        """Forget all about the pool but that it is being destroyed."""
        with self._lock:
            self._pools.pop(pool_name, None)

    async def mark_destroyed(
        self, pool_name: str, owner_id: str, tombstone_ttl: timedelta | None
    ) -> None:
        """Keep the name shut for so long, ``None`` for ever."""
        checked_id(owner_id, "owner id")
        end = _NEVER if tombstone_ttl is None else _now() + lasting(tombstone_ttl, "tombstone_ttl")
        with self._lock:
            self._shut[pool_name] = (PoolDestroyState.DESTROYED, end)

    def _lead(self, pool_name: str, owner_id: str, ttl: timedelta, *, anew: bool) -> bool:
        checked_id(owner_id, "owner id")
        lasting(ttl, "ttl")
        with self._lock:
            now, pool = _now(), self._pool(pool_name)
            if self._state(pool_name) is not PoolDestroyState.ACTIVE:
                return False
            holder = pool.primary[0] if pool.primary and pool.primary[1] > now else None
            if holder != owner_id and not (anew and holder is None):
                return False
            pool.primary = (owner_id, now + ttl)
            return True

    def _pool(self, pool_name: str) -> _Pool:
        return self._pools.setdefault(checked_id(pool_name, "pool name"), _Pool())

    def _active(self, pool_name: str) -> _Pool:
        state = self._state(pool_name)
        if state is not PoolDestroyState.ACTIVE:
            raise shut(pool_name, state)
        return self._pool(pool_name)

    def _state(self, pool_name: str) -> PoolDestroyState:
        state, end = self._shut.get(pool_name, (PoolDestroyState.ACTIVE, _NEVER))
        if end > _now():
            return state
        del self._shut[pool_name]
        return PoolDestroyState.ACTIVE


def _now() -> datetime:
    return datetime.now(timezone.utc)
