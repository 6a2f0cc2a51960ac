"""Pools of warm sandboxes: everything that a program needs but the stores on Redis."""

from opensandbox_jupyter.pool_manager import (
    SandboxPoolManager,
    SandboxPoolManagerAsync,
    SandboxPoolManagerSync,
)
from opensandbox_jupyter.pool_types import (
    AcquirePolicy,
    AsyncPoolConfig,
    AsyncPooledSandboxCreator,
    AsyncPoolStateStore,
    IdleEntry,
    PoolConfig,
    PoolCreationSpec,
    PoolDestroyOptions,
    PoolDestroyResult,
    PoolDestroyState,
    PoolDestroyStrategy,
    PooledSandboxCreateContext,
    PooledSandboxCreateReason,
    PooledSandboxCreator,
    PoolLifecycleState,
    PoolSnapshot,
    PoolState,
    PoolStateStore,
    StoreCounters,
    TakeIdleResult,
)
from opensandbox_jupyter.pools.memory import InMemoryAsyncPoolStateStore
from opensandbox_jupyter.pools.sandbox_pool import SandboxPoolAsync
from opensandbox_jupyter.sync.pool import SandboxPoolSync
from opensandbox_jupyter.sync.pools.memory import InMemoryPoolStateStore

__all__ = [
    "AcquirePolicy",
    "AsyncPoolConfig",
    "AsyncPoolStateStore",
    "AsyncPooledSandboxCreator",
    "AsyncSandboxPool",
    "IdleEntry",
    "InMemoryAsyncPoolStateStore",
    "InMemoryPoolStateStore",
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
    "SandboxPool",
    "SandboxPoolAsync",
    "SandboxPoolManager",
    "SandboxPoolManagerAsync",
    "SandboxPoolManagerSync",
    "SandboxPoolSync",
    "StoreCounters",
    "TakeIdleResult",
]

AsyncSandboxPool = SandboxPoolAsync
SandboxPool = SandboxPoolSync
