"""Where a pool keeps its state: what a store of your own has to do.

Generated from ``pools/stores.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from opensandbox_jupyter.pools.types import (
    IdleEntry,
    PoolDestroyState,
    StoreCounters,
    TakeIdleResult,
)

__all__ = [
    "PoolStateStore",
    "reap_expired_idle_with_min_ttl",
    "try_take_idle_with_min_ttl",
]


class PoolStateStore(Protocol):
    """The warm sandboxes of pools by name, who keeps each pool filled, and which are destroyed.

    A store may also have ``try_take_idle_min_ttl(pool_name, min_remaining_ttl)``, which returns a
    :class:`TakeIdleResult`, and ``reap_expired_idle_min_ttl(pool_name, now, min_remaining_ttl)``,
    which returns ids; they leave out sandboxes that live too short. Without these, such sandboxes
    are given out. A store that cannot be reached raises ``PoolStateStoreUnavailableException``.
    """

    def try_take_idle(self, pool_name: str) -> str | None:
        """Take the sandbox that has waited longest; no two callers are given the same one."""
        ...

    def put_idle(self, pool_name: str, sandbox_id: str) -> None:
        """Add a warm sandbox; ``PoolDestroyedException`` when the name is not active."""
        ...

    def remove_idle(self, pool_name: str, sandbox_id: str) -> None:
        """Forget a warm sandbox."""
        ...

    def try_acquire_primary_lock(self, pool_name: str, owner_id: str, ttl: timedelta) -> bool:
        """Become the one who fills the pool, or stay it; return whether that is so."""
        ...

    def renew_primary_lock(self, pool_name: str, owner_id: str, ttl: timedelta) -> bool:
        """Stay the one who fills the pool; return whether that is so."""
        ...

    def release_primary_lock(self, pool_name: str, owner_id: str) -> None:
        """Let another one fill the pool."""
        ...

    def reap_expired_idle(self, pool_name: str, now: datetime) -> None:
        """Forget the sandboxes that have ended by themselves."""
        ...

    def snapshot_counters(self, pool_name: str) -> StoreCounters:
        """Count the warm sandboxes."""
        ...

    def snapshot_idle_entries(self, pool_name: str) -> list[IdleEntry]:
        """List the warm sandboxes, the one that waits longest first."""
        ...

    def get_max_idle(self, pool_name: str) -> int | None:
        """Return how many warm sandboxes there shall be, if that is known."""
        ...

    def set_max_idle(self, pool_name: str, max_idle: int) -> None:
        """Say how many warm sandboxes there shall be."""
        ...

    def set_idle_entry_ttl(self, pool_name: str, idle_ttl: timedelta) -> None:
        """Say how long a sandbox lives after it was put."""
        ...

    def get_destroy_state(self, pool_name: str) -> PoolDestroyState:
        """Return whether the name may be used."""
        ...

    def begin_destroy(self, pool_name: str, owner_id: str) -> None:
        """Shut the name; ``PoolDestroyedException`` when it is destroyed already."""
        ...

    def clear_pool_state(self, pool_name: str) -> None:
        """Forget all about the pool but that it is being destroyed."""
        ...

    def mark_destroyed(
        self, pool_name: str, owner_id: str, tombstone_ttl: timedelta | None
    ) -> None:
        """Keep the name shut for so long, ``None`` for ever."""
        ...


def try_take_idle_with_min_ttl(
    store: PoolStateStore, pool_name: str, min_remaining_ttl: timedelta | None
) -> TakeIdleResult:
    """Take a warm sandbox that lives long enough, as far as the store can tell."""
    take = getattr(store, "try_take_idle_min_ttl", None)
    if take is None or not min_remaining_ttl or min_remaining_ttl <= timedelta(0):
        return TakeIdleResult(store.try_take_idle(pool_name))
    taken: TakeIdleResult = take(pool_name, min_remaining_ttl)
    return taken


def reap_expired_idle_with_min_ttl(
    store: PoolStateStore,
    pool_name: str,
    now: datetime,
    min_remaining_ttl: timedelta | None,
) -> tuple[str, ...]:
    """Forget those that live too short, and return those of them that still live."""
    reap = getattr(store, "reap_expired_idle_min_ttl", None)
    if reap is None or not min_remaining_ttl or min_remaining_ttl <= timedelta(0):
        store.reap_expired_idle(pool_name, now)
        return ()
    return tuple(reap(pool_name, now, min_remaining_ttl) or ())
