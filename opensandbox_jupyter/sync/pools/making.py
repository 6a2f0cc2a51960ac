"""How a pool makes a sandbox, and makes it ready.

Generated from ``pools/making.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from opensandbox_jupyter.exceptions import (
    PoolNotRunningException,
    SandboxReadyTimeoutException,
)
from opensandbox_jupyter.pools.types import PooledSandboxCreateContext, PooledSandboxCreateReason
from opensandbox_jupyter.sync.pools.config import PoolConfig
from opensandbox_jupyter.transport.workers_blocking import Signal
from opensandbox_jupyter.wire.readiness import Patience

if TYPE_CHECKING:
    from opensandbox_jupyter.pools.spans import Checks, WarmUp
    from opensandbox_jupyter.sync.sandbox import SandboxSync

__all__ = ["Maker"]


class Maker:
    """Makes the sandboxes of one pool."""

    def __init__(self, config: PoolConfig, factory: type[SandboxSync]) -> None:
        self._config = config
        self._factory = factory

    def create(self, reason: PooledSandboxCreateReason) -> SandboxSync:
        """Return a new sandbox; for a warm-up it need not answer yet."""
        config = self._config
        is_warmup = reason is PooledSandboxCreateReason.WARMUP
        context = PooledSandboxCreateContext(
            pool_name=config.pool_name,
            owner_id=str(config.owner_id),
            idle_timeout=config.idle_timeout,
            reason=reason,
            ready_timeout=config.warmup_ready_timeout
            if is_warmup
            else config.acquire_ready_timeout,
            health_check_polling_interval=config.warmup_health_check_polling_interval
            if is_warmup
            else config.acquire_health_check_polling_interval,
            skip_health_check=is_warmup or config.acquire_skip_health_check,
            health_check=config.warmup_health_check if is_warmup else config.acquire_health_check,
            connection_config=config.connection_config,
        )
        if config.sandbox_creator is not None:
            return config.sandbox_creator(context)
        spec = config.creation_spec
        return self._factory.create(
            spec.image,
            timeout=context.idle_timeout,
            ready_timeout=context.ready_timeout,
            env=spec.env,
            metadata=spec.metadata,
            resource=spec.resource,
            network_policy=spec.network_policy,
            platform=spec.platform,
            extensions=spec.extensions,
            secure_access=spec.secure_access,
            entrypoint=spec.entrypoint,
            volumes=spec.volumes,
            connection_config=config.connection_config,
            health_check=None if is_warmup else config.acquire_health_check,
            health_check_polling_interval=context.health_check_polling_interval,
            skip_health_check=context.skip_health_check,
        )

    def connect(self, sandbox_id: str) -> SandboxSync:
        """Return a handle on a warm sandbox that answers."""
        config = self._config
        return self._factory.connect(
            sandbox_id,
            connection_config=config.connection_config,
            health_check=config.acquire_health_check,
            connect_timeout=config.acquire_ready_timeout,
            health_check_polling_interval=config.acquire_health_check_polling_interval,
            skip_health_check=config.acquire_skip_health_check,
        )

    def prepare(self, sandbox: SandboxSync, stopping: Signal, warm_up: WarmUp) -> None:
        """Make a new sandbox ready to be given out, with its whole life before it.

        Raises:
            SandboxReadyTimeoutException: when it is not healthy in time.
            PoolNotRunningException: when ``stopping`` is set meanwhile.
        """
        config = self._config
        if not config.warmup_skip_health_check:
            patience = self._patience(config.warmup_ready_timeout)
            delay = min(config.warmup_health_check_initial_delay, config.warmup_ready_timeout)
            if delay and stopping.wait(delay.total_seconds()):
                raise _stopped()
            with warm_up.phase("readiness") as checks:
                _until(config.warmup_health_check, sandbox, patience, stopping, checks)
        if config.warmup_sandbox_preparer is not None:
            with warm_up.phase("prepare"):
                _tell(config.warmup_sandbox_preparer, sandbox)
        healthy = config.warmup_post_prepare_health_check
        if healthy is not None:
            patience = self._patience(config.warmup_post_prepare_health_check_timeout)
            with warm_up.phase("post_prepare_readiness") as checks:
                _until(healthy, sandbox, patience, stopping, checks)
        with warm_up.phase("renew"):
            sandbox.renew(config.idle_timeout)

    def _patience(self, budget: timedelta) -> Patience:
        return Patience(budget, self._config.warmup_health_check_polling_interval)


def _tell(hook: Callable[[SandboxSync], Any], sandbox: SandboxSync) -> Any:
    """Call a user's hook, and return what it says."""
    return sandbox._connection.transport.tell(hook, sandbox)


def _until(
    check: Callable[[SandboxSync], bool] | None,
    sandbox: SandboxSync,
    patience: Patience,
    stopping: Signal,
    counted: Checks,
) -> None:
    """Check again and again until it says yes."""
    while True:
        last: Exception | None = None
        counted.attempts += 1
        try:
            if _tell(check, sandbox) if check else sandbox.is_healthy():
                return
            counted.refusals += 1
        except Exception as error:
            counted.errors += 1
            last = error
        pause = patience.next_pause()
        if pause is None:
            raise SandboxReadyTimeoutException(
                f"The sandbox {sandbox.id} was not healthy after {patience.budget:g} s."
                + (f" The last check: {last}" if last else ""),
                cause=last,
                hint="Look at the pool's health checks and their timeouts.",
            )
        if stopping.wait(pause.seconds):
            raise _stopped()


def _stopped() -> PoolNotRunningException:
    return PoolNotRunningException("The pool stopped while a sandbox was being warmed up.")
