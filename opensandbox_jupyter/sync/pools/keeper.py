"""What keeps a pool filled, from its start to its shutdown.

Generated from ``pools/keeper.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import PoolDestroyedException, PoolNotRunningException
from opensandbox_jupyter.pools.rules import Allowance, Health, replenishment
from opensandbox_jupyter.pools.spans import WarmUp
from opensandbox_jupyter.pools.types import (
    PoolDestroyState,
    PooledSandboxCreateReason,
    PoolLifecycleState,
    TakeIdleResult,
)
from opensandbox_jupyter.sync.pools.config import PoolConfig
from opensandbox_jupyter.sync.pools.disposal import Disposal
from opensandbox_jupyter.sync.pools.making import Maker
from opensandbox_jupyter.sync.pools.stores import (
    reap_expired_idle_with_min_ttl,
    try_take_idle_with_min_ttl,
)
from opensandbox_jupyter.transport.tracing import tracer
from opensandbox_jupyter.transport.workers_blocking import Mutex, Signal, Workers

if TYPE_CHECKING:
    from opensandbox_jupyter.sync.pools.disposal import OpenManager
    from opensandbox_jupyter.sync.sandbox import SandboxSync

__all__ = ["Keeper"]

log = logging.getLogger("opensandbox_jupyter")

_PERIOD = 1.0
_GRACE = 30.0  # as long as a request may take: what is being made is better waited for than lost


class Keeper:
    """One run of a pool. Of all who share a pool, one at a time is the primary, who fills it."""

    def __init__(
        self, config: PoolConfig, maker: Maker, open_manager: OpenManager, generation: int
    ) -> None:
        self.config = config
        self.maker = maker
        self.state = PoolLifecycleState.RUNNING
        self.health = Health(config.degraded_threshold)
        self.workers = Workers()
        self.disposal = Disposal(self.workers, open_manager)
        self.in_flight = 0
        self._owner = str(config.owner_id)
        self._warming = 0
        self._allowance = Allowance(config.warmup_create_qps)
        self._is_primary = False
        self._generation, self._epoch = generation, 0
        self._tracer = tracer(config.connection_config.enable_tracing)
        self._is_troubled = False
        self._is_finished = False
        self._lock = threading.Lock()
        self._finishing = Mutex()
        self._stopping, self._nudge, self._quiet = Signal(), Signal(), Signal()
        self._quiet.set()

    def start(self) -> None:
        """Begin to keep the pool filled."""
        self.workers.start(f"opensandbox-pool-{self.config.pool_name}", self._keep, firm=True)

    def nudge(self) -> None:
        """Something has changed: look at once whether the pool wants filling."""
        if self._is_primary:
            self._nudge.set()

    def check(self) -> None:
        """Raise ``PoolNotRunningException`` when this run is over."""
        if self.state is not PoolLifecycleState.RUNNING:
            raise PoolNotRunningException(
                f"The pool {self.config.pool_name!r} is {self.state.value}.",
                hint="Start the pool before you acquire, and shut it down after that.",
            )

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Count what goes on meanwhile as under way."""
        with self._lock:
            self.in_flight += 1
            self._quiet.clear()
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1
                if not self.in_flight:
                    self._quiet.set()

    def take(self) -> TakeIdleResult:
        """Take a warm sandbox. One that comes after a cancellation is ended."""
        taking = partial(
            try_take_idle_with_min_ttl,
            self.config.state_store,
            self.config.pool_name,
            self.config.acquire_min_remaining_ttl,
        )
        taken = self.workers.claim(taking, self._give_up)
        self.disposal.add(taken.discarded_alive_sandbox_ids)
        return taken

    def make(self, reason: PooledSandboxCreateReason) -> SandboxSync:
        """Make a sandbox. One that comes after a cancellation is ended."""
        return self.workers.claim(partial(self.maker.create, reason), self.dispose)

    def dispose(self, sandbox: SandboxSync) -> None:
        """End a sandbox in the background, and close its handle."""
        self.disposal.add([sandbox.id])
        self.workers.whole(sandbox.close)

    def close(self, *, graceful: bool) -> None:
        """End this run; when graceful, after what is under way. Warm sandboxes stay in the store.

        What does not stop within half a minute is left behind, and told.
        """
        with self._lock:
            if not graceful:
                self._stopping.set()  # whoever sees the new state knows that no warm-up is kept
            if self.state is PoolLifecycleState.RUNNING:
                self.state = PoolLifecycleState.DRAINING
        drain = self.config.drain_timeout.total_seconds()
        if graceful and not self._stopping.is_set() and not self._quiet.wait(drain):
            log.warning("The pool %s did not drain in %g s.", self.config.pool_name, drain)
        self._stop()
        with self._finishing:
            if not self._is_finished:
                self.workers.whole(self._finish)

    def _finish(self) -> None:
        is_quiet = self._quiet.wait(_GRACE)
        if not (self.workers.settle(_GRACE) and is_quiet):
            log.warning("Something of the pool %s is still busy.", self.config.pool_name)
        self.disposal.finish()
        try:
            self.config.state_store.release_primary_lock(self.config.pool_name, self._owner)
        except Exception as error:
            log.debug("The pool's lock will expire by itself: %s", error)
        self._is_finished = True
        self.state = PoolLifecycleState.STOPPED

    def _stop(self) -> None:
        self._is_primary = False
        self._stopping.set()
        self._nudge.set()
        self.workers.cancel()

    def _give_up(self, taken: TakeIdleResult) -> None:
        kept = () if taken.sandbox_id is None else (taken.sandbox_id,)
        self.disposal.add(kept + taken.discarded_alive_sandbox_ids)

    def _keep(self) -> None:
        period = min(_PERIOD, self.config.primary_lock_ttl.total_seconds() / 3)
        while not self._stopping.is_set():
            try:
                self._tick()
                self._is_troubled = False
            except Exception as error:
                level = logging.DEBUG if self._is_troubled else logging.WARNING
                log.log(level, "The pool %s is not filled: %s", self.config.pool_name, error)
                self._is_troubled = True
            self._nudge.wait(period)
            self._nudge.clear()

    def _tick(self) -> None:
        store, name = self.config.state_store, self.config.pool_name
        owner, ttl = self._owner, self.config.primary_lock_ttl
        self.disposal.retry()
        if store.get_destroy_state(name) is not PoolDestroyState.ACTIVE:
            self._stop()
            self.state = PoolLifecycleState.STOPPED
        elif self.state is not PoolLifecycleState.RUNNING:
            store.renew_primary_lock(name, owner, ttl)
        elif store.try_acquire_primary_lock(name, owner, ttl):
            self._lead(True)
            self._fill()
        else:
            self._lead(False)

    def _lead(self, is_primary: bool) -> None:
        """Note whether this is the primary; each change of that is an epoch."""
        self._epoch += self._is_primary is not is_primary
        self._is_primary = is_primary

    def _fill(self) -> None:
        """Begin as many warm-ups as are wanted, or end what is too much."""
        config, name = self.config, self.config.pool_name
        now, least = datetime.now(timezone.utc), config.acquire_min_remaining_ttl
        self.disposal.add(reap_expired_idle_with_min_ttl(config.state_store, name, now, least))
        wanted = self.max_idle()
        with self._lock:  # before the idle ones: what becomes ready meanwhile counts twice
            warming = self._warming
        idle = (config.state_store.snapshot_counters(name)).idle_count
        free = config.warmup_concurrency - warming
        allowed = min(free, self._allowance.whole(time.monotonic()))
        if self.health.is_waiting(time.monotonic()):
            allowed = 0
        count = replenishment(wanted, idle, warming, allowed, self.health)
        self._allowance.use(max(0, count))
        for _ in range(count):
            self._begin_warm_up()
        for _ in range(min(-count, config.warmup_concurrency)):
            taken = config.state_store.try_take_idle(name)
            if taken is None:
                break
            self.disposal.add([taken])

    def max_idle(self) -> int:
        """Return how many warm sandboxes there shall be."""
        shared = self.config.state_store.get_max_idle(self.config.pool_name)
        return self.config.max_idle if shared is None else shared

    def _begin_warm_up(self) -> None:
        with self._lock:
            self._warming += 1
        try:
            warm_up = partial(self._warm_up, time.time_ns())
            self.workers.start(f"opensandbox-warmup-{self.config.pool_name}", warm_up)
        except BaseException:
            self._end_warm_up()
            raise

    def _end_warm_up(self) -> None:
        with self._lock:
            self._warming -= 1
        self.nudge()

    def _told(self, begin: int) -> WarmUp:
        """Return what tells of a warm-up that was decided at a Unix time in ns."""
        config = self.config
        attributes: dict[str, str | int] = {}
        if self._tracer is not None:
            image = config.creation_spec.image
            attributes = {
                "pool.name": config.pool_name,
                "pool.owner": self._owner,
                "pool.run.generation": self._generation,
                "pool.leader.epoch": self._epoch,
                "sandbox.image": image if isinstance(image, str) else image.image,
            }
        return WarmUp(self._tracer, attributes, begin)

    def _warm_up(self, begin: int) -> None:
        try:
            with self.operation(), self._told(begin) as warm_up:
                with warm_up.phase("create"):
                    sandbox = self.make(PooledSandboxCreateReason.WARMUP)
                warm_up.is_of(sandbox.id)
                try:
                    self.maker.prepare(sandbox, self._stopping, warm_up)
                except BaseException:
                    self.dispose(sandbox)
                    raise
                with warm_up.phase("commit"):
                    self.workers.whole(partial(self._commit, sandbox, warm_up))
            with self._lock:
                self.health.succeeded()
        except (PoolNotRunningException, PoolDestroyedException) as error:
            log.debug("A warm-up of the pool %s was dropped: %s", self.config.pool_name, error)
        except Exception as error:
            with self._lock:
                self.health.failed(error, time.monotonic())
            log.warning("A warm-up of the pool %s failed: %s", self.config.pool_name, error)
        finally:
            self._end_warm_up()

    def _commit(self, sandbox: SandboxSync, warm_up: WarmUp) -> None:
        """Give a warm sandbox to the store, or end it. From then on it may be anybody's."""
        store, name = self.config.state_store, self.config.pool_name
        owner, ttl = self._owner, self.config.primary_lock_ttl
        try:
            stopped = self._stopping.is_set()
            if stopped or not store.renew_primary_lock(name, owner, ttl):
                warm_up.drop("run_retired" if stopped else "leadership_lost")
                raise PoolNotRunningException("Another owner keeps the pool now, or nobody.")
            store.put_idle(name, sandbox.id)
        except BaseException:
            self.disposal.add([sandbox.id])
            raise
        finally:
            sandbox.close()
