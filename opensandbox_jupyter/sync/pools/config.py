"""How a pool is set up.

Generated from ``pools/config.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.models.durations import duration, lasting
from opensandbox_jupyter.pools.rules import checked_max_idle
from opensandbox_jupyter.sync.connection import checked_id

if TYPE_CHECKING:
    from opensandbox_jupyter.config import ConnectionConfigSync
    from opensandbox_jupyter.pools.types import PoolCreationSpec, PooledSandboxCreateContext
    from opensandbox_jupyter.sync.pools.stores import PoolStateStore
    from opensandbox_jupyter.sync.sandbox import SandboxSync

__all__ = ["PoolConfig", "PooledSandboxCreator"]

_SECONDS_30 = timedelta(seconds=30)
_LONGEST_LEAST = timedelta(seconds=60)

_COUNTS = ("warmup_create_qps", "warmup_concurrency", "degraded_threshold", "max_acquire_retries")
_SPANS = (
    "primary_lock_ttl",
    "acquire_ready_timeout",
    "acquire_health_check_polling_interval",
    "warmup_ready_timeout",
    "warmup_health_check_polling_interval",
    "warmup_post_prepare_health_check_timeout",
    "idle_timeout",
)
_SPANS_OR_NONE = ("warmup_health_check_initial_delay", "drain_timeout")


class PooledSandboxCreator(Protocol):
    """Makes a sandbox for a pool, in your own way."""

    def __call__(self, context: PooledSandboxCreateContext) -> SandboxSync:
        """Return a new sandbox, which is the pool's from now on."""
        ...


@dataclass(frozen=True)
class PoolConfig:
    """How a pool is set up. Lengths of time are seconds or timedeltas.

    Args:
        pool_name: the pool's name in the store.
        max_idle: how many warm sandboxes there shall be.
        state_store: where the pool's state is kept.
        connection_config: the server.
        creation_spec: what the sandboxes are.
        owner_id: who this is among those who share the pool; one is made up by default.
        warmup_create_qps: how many warm-ups begin in one second.
        warmup_concurrency: how many are under way at once.
        primary_lock_ttl: after so long without a word from the one who fills the pool, another
            one does.
        degraded_threshold: after so many warm-ups in a row that failed, the pool is degraded.
        acquire_ready_timeout: how long an acquired sandbox may take to answer.
        acquire_health_check_polling_interval: the longest pause between two checks then.
        acquire_health_check: your own check then, called with the sandbox.
        acquire_skip_health_check: check nothing then.
        warmup_ready_timeout: how long a new sandbox may take to answer.
        warmup_health_check_initial_delay: wait so long before the first check.
        warmup_health_check_polling_interval: the longest pause between two checks then.
        warmup_health_check: your own check then, called with the sandbox.
        warmup_sandbox_preparer: what to do with a new sandbox once it answers.
        warmup_post_prepare_health_check: what must be true after that.
        warmup_post_prepare_health_check_timeout: how long it may take to become true.
        warmup_skip_health_check: check nothing before the preparer.
        idle_timeout: how long a warm sandbox lives.
        drain_timeout: how long a graceful shutdown waits for what is under way.
        acquire_min_remaining_ttl: a warm sandbox whose life ends sooner is replaced; by default
            60 s, or half of ``idle_timeout`` where that is less.
        sandbox_creator: makes the sandboxes in your own way.
        max_acquire_retries: how many warm sandboxes the retrying policies try.

    Raises:
        InvalidArgumentException: for a value that cannot be used.
    """

    pool_name: str
    max_idle: int
    state_store: PoolStateStore
    connection_config: ConnectionConfigSync
    creation_spec: PoolCreationSpec
    owner_id: str | None = None
    warmup_create_qps: int = 10
    warmup_concurrency: int = 128
    primary_lock_ttl: timedelta = timedelta(seconds=60)
    degraded_threshold: int = 3
    acquire_ready_timeout: timedelta = _SECONDS_30
    acquire_health_check_polling_interval: timedelta = timedelta(milliseconds=200)
    acquire_health_check: Callable[[SandboxSync], bool] | None = None
    acquire_skip_health_check: bool = False
    warmup_ready_timeout: timedelta = _SECONDS_30
    warmup_health_check_initial_delay: timedelta = timedelta(0)
    warmup_health_check_polling_interval: timedelta = timedelta(milliseconds=500)
    warmup_health_check: Callable[[SandboxSync], bool] | None = None
    warmup_sandbox_preparer: Callable[[SandboxSync], None] | None = None
    warmup_post_prepare_health_check: Callable[[SandboxSync], bool] | None = None
    warmup_post_prepare_health_check_timeout: timedelta = _SECONDS_30
    warmup_skip_health_check: bool = False
    idle_timeout: timedelta = timedelta(hours=24)
    drain_timeout: timedelta = _SECONDS_30
    acquire_min_remaining_ttl: timedelta | None = None
    sandbox_creator: PooledSandboxCreator | None = None
    max_acquire_retries: int = 3

    def __post_init__(self) -> None:
        checked_id(self.pool_name, "pool name")
        checked_max_idle(self.max_idle)
        owner = self.owner_id or f"pool-owner-{uuid4()}"
        self._keep("owner_id", checked_id(owner, "owner id"))
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InvalidArgumentException(f"{name} must be 1 or more.")
        for name in _SPANS:
            self._keep(name, lasting(getattr(self, name), name))
        for name in _SPANS_OR_NONE:
            self._keep(name, duration(getattr(self, name), name))
        least = self.acquire_min_remaining_ttl
        if least is None:
            least = min(_LONGEST_LEAST, self.idle_timeout / 2)
        least = duration(least, "acquire_min_remaining_ttl")
        if least >= self.idle_timeout:
            raise InvalidArgumentException(
                "acquire_min_remaining_ttl must be less than idle_timeout.",
                hint="Otherwise every warm sandbox would be replaced at once.",
            )
        self._keep("acquire_min_remaining_ttl", least)

    def with_max_idle(self, max_idle: int) -> PoolConfig:
        """Return the same with another number of warm sandboxes."""
        return replace(self, max_idle=max_idle)

    def _keep(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
