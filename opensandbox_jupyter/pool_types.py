"""Words and settings of pools of warm sandboxes."""

from opensandbox_jupyter.pools.config import (
    AsyncPoolConfig,
    AsyncPooledSandboxCreator,
)
from opensandbox_jupyter.pools.rules import (
    effective_max_idle_attempts,
    policy_falls_through_to_direct_create,
)
from opensandbox_jupyter.pools.stores import (
    AsyncPoolStateStore,
    reap_expired_idle_with_min_ttl_async,
    try_take_idle_with_min_ttl_async,
)
from opensandbox_jupyter.pools.types import (
    AcquirePolicy,
    IdleEntry,
    PoolCreationSpec,
    PoolDestroyOptions,
    PoolDestroyResult,
    PoolDestroyState,
    PoolDestroyStrategy,
    PooledSandboxCreateContext,
    PooledSandboxCreateReason,
    PoolLifecycleState,
    PoolSnapshot,
    PoolState,
    StoreCounters,
    TakeIdleResult,
)
from opensandbox_jupyter.sync.pools.config import (
    PoolConfig,
    PooledSandboxCreator,
)
from opensandbox_jupyter.sync.pools.stores import (
    PoolStateStore,
    reap_expired_idle_with_min_ttl,
    try_take_idle_with_min_ttl,
)

__all__ = [
    "AcquirePolicy",
    "AsyncPoolConfig",
    "AsyncPoolStateStore",
    "AsyncPooledSandboxCreator",
    "IdleEntry",
    "PoolConfig",
    "PoolCreationSpec",
    "PoolDestroyOptions",
    "PoolDestroyResult",
    "PoolDestroyState",
    "PoolDestroyStrategy",
    "PoolLifecycleState",
    "PoolSnapshot",
    "PoolState",
    "PoolStateStore",
    "PooledSandboxCreateContext",
    "PooledSandboxCreateReason",
    "PooledSandboxCreator",
    "StoreCounters",
    "TakeIdleResult",
    "effective_max_idle_attempts",
    "policy_falls_through_to_direct_create",
    "reap_expired_idle_with_min_ttl",
    "reap_expired_idle_with_min_ttl_async",
    "try_take_idle_with_min_ttl",
    "try_take_idle_with_min_ttl_async",
]
