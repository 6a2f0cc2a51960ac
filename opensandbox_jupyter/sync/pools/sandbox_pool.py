"""Warm sandboxes, ready before they are wanted.

Generated from ``pools/sandbox_pool.py`` by ``scripts/make_sync.py``: change that file, ``make
generate``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    PoolNotRunningException,
    PoolStateStoreUnavailableException,
    SandboxApiException,
)
from opensandbox_jupyter.pools.rules import Search, checked_max_idle, shut
from opensandbox_jupyter.pools.types import (
    AcquirePolicy,
    IdleEntry,
    PoolDestroyState,
    PooledSandboxCreateReason,
    PoolLifecycleState,
    PoolSnapshot,
    PoolState,
)
from opensandbox_jupyter.sync.manager import SandboxManagerSync
from opensandbox_jupyter.sync.pools.config import PoolConfig, PooledSandboxCreator
from opensandbox_jupyter.sync.pools.disposal import AT_ONCE, end_sandboxes
from opensandbox_jupyter.sync.pools.keeper import Keeper
from opensandbox_jupyter.sync.pools.making import Maker
from opensandbox_jupyter.sync.sandbox import SandboxSync
from opensandbox_jupyter.transport.workers_blocking import Mutex, Workers

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.config import ConnectionConfigSync
    from opensandbox_jupyter.models.durations import Duration
    from opensandbox_jupyter.pools.types import PoolCreationSpec
    from opensandbox_jupyter.sync.pools.stores import PoolStateStore

__all__ = ["SandboxPoolSync"]

log = logging.getLogger("opensandbox_jupyter")

_SETTINGS = fields(PoolConfig)
_REFUSED = (401, 403)
_ENDED = {
    PoolLifecycleState.NOT_STARTED: PoolState.STOPPED,
    PoolLifecycleState.DRAINING: PoolState.DRAINING,
    PoolLifecycleState.STOPPED: PoolState.STOPPED,
}


class SandboxPoolSync:
    """Keeps sandboxes ready, so that whoever wants one has it at once.

    Pools of the same name that share a store share their warm sandboxes, and one of them, the
    primary, keeps their number up. An acquired sandbox is the caller's, who kills it; it does not
    go back. A shutdown leaves the warm ones in the store, for the others or the next start:
    :meth:`release_all_idle` ends them.

    Args:
        sandbox_manager_factory: makes the manager that ends sandboxes.
        sandbox_factory: the class of the sandboxes.

    All others are those of :class:`PoolConfig`.

    Raises:
        InvalidArgumentException: for a value that cannot be used.
    """

    def __init__(
        self,
        *,
        pool_name: str,
        max_idle: int,
        state_store: PoolStateStore,
        connection_config: ConnectionConfigSync,
        creation_spec: PoolCreationSpec,
        owner_id: str | None = None,
        warmup_create_qps: int = PoolConfig.warmup_create_qps,
        warmup_concurrency: int = PoolConfig.warmup_concurrency,
        primary_lock_ttl: Duration = PoolConfig.primary_lock_ttl,
        degraded_threshold: int = PoolConfig.degraded_threshold,
        acquire_ready_timeout: Duration = PoolConfig.acquire_ready_timeout,
        acquire_health_check_polling_interval: Duration = (
            PoolConfig.acquire_health_check_polling_interval
        ),
        acquire_health_check: Callable[[SandboxSync], bool] | None = None,
        acquire_skip_health_check: bool = False,
        warmup_ready_timeout: Duration = PoolConfig.warmup_ready_timeout,
        warmup_health_check_initial_delay: Duration = (
            PoolConfig.warmup_health_check_initial_delay
        ),
        warmup_health_check_polling_interval: Duration = (
            PoolConfig.warmup_health_check_polling_interval
        ),
        warmup_health_check: Callable[[SandboxSync], bool] | None = None,
        warmup_sandbox_preparer: Callable[[SandboxSync], None] | None = None,
        warmup_post_prepare_health_check: Callable[[SandboxSync], bool] | None = None,
        warmup_post_prepare_health_check_timeout: Duration = (
            PoolConfig.warmup_post_prepare_health_check_timeout
        ),
        warmup_skip_health_check: bool = False,
        idle_timeout: Duration = PoolConfig.idle_timeout,
        drain_timeout: Duration = PoolConfig.drain_timeout,
        acquire_min_remaining_ttl: Duration | None = None,
        max_acquire_retries: int = PoolConfig.max_acquire_retries,
        sandbox_manager_factory: Callable[
            [ConnectionConfigSync], SandboxManagerSync
        ] = SandboxManagerSync.create,
        sandbox_factory: type[SandboxSync] = SandboxSync,
        sandbox_creator: PooledSandboxCreator | None = None,
    ) -> None:
        given = locals()
        self._config = PoolConfig(**{one.name: given[one.name] for one in _SETTINGS})
        self._maker = Maker(self._config, sandbox_factory)
        self._open_manager = partial(sandbox_manager_factory, connection_config)
        self._starting = Mutex()
        self._keeper: Keeper | None = None
        self._runs = 0
        self._without_keeper = PoolLifecycleState.NOT_STARTED

    def start(self) -> None:
        """Begin to keep sandboxes ready; a pool that runs goes on.

        A pool that is shutting down is waited for, and starts again.

        Raises:
            PoolDestroyedException: when the pool's name was destroyed.
            PoolStateStoreUnavailableException: when the store does not answer.
        """
        with self._starting:
            if self._keeper is not None:
                if self._keeper.state is PoolLifecycleState.RUNNING:
                    return
                self._keeper.close(graceful=True)
            self._keeper, self._without_keeper = None, PoolLifecycleState.STARTING
            try:
                self._check_name()
                name, store = self._config.pool_name, self._config.state_store
                store.set_idle_entry_ttl(name, self._config.idle_timeout)
                store.set_max_idle(name, self._config.max_idle)
                self._runs += 1
                keeper = Keeper(self._config, self._maker, self._open_manager, self._runs)
                keeper.start()
            except BaseException:
                self._without_keeper = PoolLifecycleState.STOPPED
                raise
            self._keeper = keeper

    def acquire(
        self,
        sandbox_timeout: Duration | None = None,
        policy: AcquirePolicy = AcquirePolicy.DIRECT_CREATE,
    ) -> SandboxSync:
        """Return a sandbox of one's own, a warm one where possible.

        Args:
            sandbox_timeout: its lifetime from now on, seconds or a timedelta; by default what is
                left of its idle time.
            policy: what to do when no warm one is ready, or the one that is cannot be used.

        Raises:
            PoolEmptyException: when none is ready, and the policy makes none.
            PoolAcquireFailedException: when none of those that were ready could be used.
            PoolNotRunningException: when the pool was not started, or is shutting down.
            PoolDestroyedException: when the pool's name was destroyed.
            PoolStateStoreUnavailableException: when the store does not answer, and the policy
                makes no sandboxes.
        """
        keeper = self._keeper
        if keeper is None:
            self._raise_if_destroyed()
            raise PoolNotRunningException(
                f"The pool {self._config.pool_name!r} is {self._without_keeper.value}.",
                hint="Start the pool before you acquire.",
            )
        search = Search(policy, self._config.max_acquire_retries)
        with keeper.operation():
            try:
                keeper.check()
                self._check_name(search)
                sandbox = self._search(keeper, search)
                if sandbox is None:
                    sandbox = keeper.make(PooledSandboxCreateReason.DIRECT_CREATE)
                return self._hand_over(keeper, sandbox, sandbox_timeout, search)
            except PoolNotRunningException:
                self._raise_if_destroyed()
                raise

    def resize(self, max_idle: int) -> None:
        """Say how many warm sandboxes there shall be, for all who share the pool."""
        checked_max_idle(max_idle)
        self._check_name()
        self._config.state_store.set_max_idle(self._config.pool_name, max_idle)
        self._config = self._config.with_max_idle(max_idle)
        if self._keeper is not None:
            self._keeper.config = self._config
            self._keeper.nudge()

    def release_all_idle(self) -> int:
        """End all warm sandboxes, of all owners, and return how many there were.

        A pool that runs makes new ones; to end them for good, shut the pool down first.
        """
        return self.release_all_idle_parallel()

    def release_all_idle_parallel(self, max_workers: int = AT_ONCE) -> int:
        """End all warm sandboxes, so many at once, and return how many there were."""
        if max_workers < 1:
            raise InvalidArgumentException(f"max_workers must be 1 or more, not {max_workers}.")
        return Workers().whole(partial(self._release, max_workers))

    def snapshot(self) -> PoolSnapshot:
        """Return how the pool is now."""
        keeper, name = self._keeper, self._config.pool_name
        counters = self._config.state_store.snapshot_counters(name)
        shared = self._config.state_store.get_max_idle(name)
        state = keeper.state if keeper else self._without_keeper
        health = keeper.health if keeper else None
        is_degraded = health is not None and health.is_degraded
        return PoolSnapshot(
            state=_ENDED.get(state, PoolState.DEGRADED if is_degraded else PoolState.HEALTHY),
            lifecycle_state=state,
            idle_count=counters.idle_count,
            max_idle=self._config.max_idle if shared is None else shared,
            failure_count=health.failures if health else 0,
            backoff_active=health.is_waiting(time.monotonic()) if health else False,
            last_error=health.last_error if health else None,
            in_flight_operations=keeper.in_flight if keeper else 0,
        )

    def snapshot_idle_entries(self) -> list[IdleEntry]:
        """List the warm sandboxes, the one that waits longest first."""
        return self._config.state_store.snapshot_idle_entries(self._config.pool_name)

    def shutdown(self, graceful: bool = True) -> None:
        """Stop keeping sandboxes ready; those that are stay in the store.

        When graceful, acquires and warm-ups that are under way may end first, within
        ``drain_timeout``. Otherwise warm-ups are given up, and their sandboxes ended.
        """
        keeper = self._keeper
        if keeper is None:
            self._without_keeper = PoolLifecycleState.STOPPED
        else:
            keeper.close(graceful=graceful)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    def _search(self, keeper: Keeper, search: Search) -> SandboxSync | None:
        """Return a warm sandbox that answers; ``None`` when one is to be made."""
        while search.left:
            keeper.check()
            try:
                taken = (keeper.take()).sandbox_id
            except PoolStateStoreUnavailableException as error:
                if not search.creates:
                    raise
                log.warning("A sandbox is made without the pool: %s", error)
                break
            if taken is None:
                break
            keeper.nudge()
            try:
                return self._maker.connect(taken)
            except BaseException as error:
                keeper.disposal.add([taken])
                if not isinstance(error, Exception) or _is_refusal(error):
                    raise
                search.failed(taken, error)
        verdict = search.verdict()
        if verdict is not None:
            raise verdict
        keeper.check()
        return None

    def _hand_over(
        self, keeper: Keeper, sandbox: SandboxSync, lifetime: Duration | None, search: Search
    ) -> SandboxSync:
        """Give the sandbox its lifetime, and look a last time whether it may be given out."""
        try:
            if lifetime is not None:
                sandbox.renew(lifetime)
            self._check_name(search)
            keeper.check()
        except BaseException:
            keeper.dispose(sandbox)
            raise
        return sandbox

    def _check_name(self, search: Search | None = None) -> None:
        """Raise when the pool's name is destroyed. An acquire may go on without the store."""
        name = self._config.pool_name
        try:
            state = self._config.state_store.get_destroy_state(name)
        except PoolStateStoreUnavailableException:
            if search is None or not search.creates:
                raise
            return
        if state is not PoolDestroyState.ACTIVE:
            raise shut(name, state)

    def _raise_if_destroyed(self) -> None:
        """Say the better reason: the pool does not run because it was destroyed."""
        try:
            self._check_name()
        except PoolStateStoreUnavailableException:
            return

    def _release(self, at_once: int) -> int:
        count = 0
        while True:
            batch: list[str] = []
            try:
                while len(batch) < at_once:
                    taken = self._config.state_store.try_take_idle(self._config.pool_name)
                    if taken is None:
                        break
                    batch.append(taken)
            finally:
                left = end_sandboxes(self._open_manager, batch, at_once=at_once)
                if self._keeper is not None:
                    self._keeper.disposal.add(left)
                elif left:
                    log.warning("Sandboxes of a pool could not be ended: %s", ", ".join(left))
            count += len(batch)
            if not batch:
                return count


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, SandboxApiException) and error.status_code in _REFUSED
