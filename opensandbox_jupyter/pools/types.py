"""The words of pools: policies, states, and what is told about a pool. Of no colour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from opensandbox_jupyter.models.durations import duration, lasting

if TYPE_CHECKING:
    from opensandbox_jupyter.config import ConnectionConfig, ConnectionConfigSync
    from opensandbox_jupyter.models.sandboxes import (
        NetworkPolicy,
        PlatformSpec,
        SandboxImageSpec,
        Volume,
    )

__all__ = [
    "AcquirePolicy",
    "IdleEntry",
    "PoolCreationSpec",
    "PoolDestroyOptions",
    "PoolDestroyResult",
    "PoolDestroyState",
    "PoolDestroyStrategy",
    "PoolLifecycleState",
    "PoolSnapshot",
    "PoolState",
    "PooledSandboxCreateContext",
    "PooledSandboxCreateReason",
    "StoreCounters",
    "TakeIdleResult",
]


class AcquirePolicy(Enum):
    """What an acquire does when no warm sandbox is ready, or the one that is cannot be used.

    The retrying ones try up to ``max_acquire_retries`` warm sandboxes, the others one.
    """

    FAIL_FAST = "FAIL_FAST"
    DIRECT_CREATE = "DIRECT_CREATE"
    RETRY_NEXT_IDLE = "RETRY_NEXT_IDLE"
    RETRY_NEXT_IDLE_THEN_CREATE = "RETRY_NEXT_IDLE_THEN_CREATE"


class PoolState(Enum):
    """How a pool is. ``DEGRADED``: several sandboxes in a row could not be warmed up."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    DRAINING = "DRAINING"
    STOPPED = "STOPPED"


class PoolLifecycleState(Enum):
    """Where one pool object is between its start and its shutdown."""

    NOT_STARTED = "NOT_STARTED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    DRAINING = "DRAINING"
    STOPPED = "STOPPED"


class PoolDestroyState(Enum):
    """Whether a pool's name may be used; shared by everybody who uses the same store."""

    ACTIVE = "ACTIVE"
    DESTROYING = "DESTROYING"
    DESTROYED = "DESTROYED"


class PoolDestroyStrategy(Enum):
    """How a pool is destroyed. ``FORCE`` does not wait for those who acquire from it."""

    FORCE = "FORCE"


class PooledSandboxCreateReason(Enum):
    """Why a pool makes a sandbox: to keep it warm, or for an acquire that waits."""

    WARMUP = "WARMUP"
    DIRECT_CREATE = "DIRECT_CREATE"


@dataclass(frozen=True)
class PoolDestroyOptions:
    """How to destroy a pool.

    Args:
        strategy: only ``FORCE`` so far.
        tombstone_ttl: how long the name stays unusable; ``None`` for ever.
        drain_timeout: how long ending the warm sandboxes may take; zero for any time.

    Raises:
        InvalidArgumentException: for a time that is none.
    """

    strategy: PoolDestroyStrategy = PoolDestroyStrategy.FORCE
    tombstone_ttl: timedelta | None = timedelta(days=7)
    drain_timeout: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        if self.tombstone_ttl is not None:
            object.__setattr__(self, "tombstone_ttl", lasting(self.tombstone_ttl, "tombstone_ttl"))
        object.__setattr__(self, "drain_timeout", duration(self.drain_timeout, "drain_timeout"))


@dataclass(frozen=True)
class PoolDestroyResult:
    """What a destroy did: how many warm sandboxes it found, and how many it ended."""

    pool_name: str
    state: PoolDestroyState
    drained_idle_count: int
    killed_idle_count: int
    persistent_state_cleared: bool


@dataclass(frozen=True)
class IdleEntry:
    """A warm sandbox, and when it ends by itself (UTC)."""

    sandbox_id: str
    expires_at: datetime


@dataclass(frozen=True)
class StoreCounters:
    """How many warm sandboxes a store knows."""

    idle_count: int


@dataclass(frozen=True)
class TakeIdleResult:
    """A warm sandbox that was taken, if any.

    Attributes:
        sandbox_id: the sandbox; nobody else is given it.
        discarded_alive_sandbox_ids: those left out because too little of their life is left. The
            store knows them no more, and the caller should end them.
    """

    sandbox_id: str | None
    discarded_alive_sandbox_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class PooledSandboxCreateContext:
    """What a creator of your own is told.

    Attributes:
        pool_name: the pool's name.
        owner_id: who makes it.
        idle_timeout: the lifetime that the sandbox shall have.
        reason: why it is made.
        ready_timeout: how long it may take to be ready.
        health_check_polling_interval: the longest pause between two checks.
        skip_health_check: do not wait until it is ready; the pool does, where that is wanted.
        health_check: the configured check, if any.
        connection_config: the server.
    """

    pool_name: str
    owner_id: str
    idle_timeout: timedelta
    reason: PooledSandboxCreateReason
    ready_timeout: timedelta
    health_check_polling_interval: timedelta
    skip_health_check: bool
    health_check: Callable[[Any], Awaitable[bool] | bool] | None
    connection_config: ConnectionConfigSync | ConnectionConfig


@dataclass(frozen=True)
class PoolSnapshot:
    """How a pool is at one moment.

    Attributes:
        state: its health, or how far it has ended.
        lifecycle_state: where this object is between start and shutdown.
        idle_count: warm sandboxes, of all owners.
        max_idle: how many there shall be.
        failure_count: warm-ups in a row that failed here.
        backoff_active: whether warm-ups wait because of that.
        last_error: what the last failure said.
        in_flight_operations: acquires and warm-ups under way here.
    """

    state: PoolState
    lifecycle_state: PoolLifecycleState
    idle_count: int
    max_idle: int
    failure_count: int
    backoff_active: bool
    last_error: str | None
    in_flight_operations: int


@dataclass(frozen=True)
class PoolCreationSpec:
    """What the pool's sandboxes are; fields as in ``Sandbox.create``."""

    image: SandboxImageSpec | str
    entrypoint: list[str] | None = None
    resource: dict[str, str] | None = None
    env: dict[str, str] | None = None
    metadata: dict[str, str] | None = None
    extensions: dict[str, str] | None = None
    network_policy: NetworkPolicy | None = None
    platform: PlatformSpec | None = None
    secure_access: bool = False
    volumes: list[Volume] | None = None
