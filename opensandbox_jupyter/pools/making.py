"""How a pool makes a sandbox, and makes it ready."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from opensandbox_jupyter.exceptions import (
    PoolNotRunningException,
    SandboxReadyTimeoutException,
)
from opensandbox_jupyter.pools.config import AsyncPoolConfig
from opensandbox_jupyter.pools.types import PooledSandboxCreateContext, PooledSandboxCreateReason
from opensandbox_jupyter.transport.workers_aio import Signal
from opensandbox_jupyter.wire.readiness import Patience

if TYPE_CHECKING:
    from opensandbox_jupyter.pools.spans import Checks, WarmUp
    from opensandbox_jupyter.sandbox import Sandbox

__all__ = ["Maker"]


class Maker:
    """Makes the sandboxes of one pool."""

    def __init__(self, config: AsyncPoolConfig, factory: type[Sandbox]) -> None:
        self._config = config
        self._factory = factory

    async def create(self, reason: PooledSandboxCreateReason) -> Sandbox:
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
            return await config.sandbox_creator(context)
        spec = config.creation_spec
        return await self._factory.create(
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

    async def connect(self, sandbox_id: str) -> Sandbox:
        """Return a handle on a warm sandbox that answers."""
        config = self._config
        return await self._factory.connect(
            sandbox_id,
            connection_config=config.connection_config,
            health_check=config.acquire_health_check,
            connect_timeout=config.acquire_ready_timeout,
            health_check_polling_interval=config.acquire_health_check_polling_interval,
            skip_health_check=config.acquire_skip_health_check,
        )

    async def prepare(self, sandbox: Sandbox, stopping: Signal, warm_up: WarmUp) -> None:
        """Make a new sandbox ready to be given out, with its whole life before it.

        Raises:
            SandboxReadyTimeoutException: when it is not healthy in time.
            PoolNotRunningException: when ``stopping`` is set meanwhile.
        """
        config = self._config
        if not config.warmup_skip_health_check:
            patience = self._patience(config.warmup_ready_timeout)
            delay = min(config.warmup_health_check_initial_delay, config.warmup_ready_timeout)
            if delay and await stopping.wait(delay.total_seconds()):
                raise _stopped()
            with warm_up.phase("readiness") as checks:
                await _until(config.warmup_health_check, sandbox, patience, stopping, checks)
        if config.warmup_sandbox_preparer is not None:
            with warm_up.phase("prepare"):
                await _tell(config.warmup_sandbox_preparer, sandbox)
        healthy = config.warmup_post_prepare_health_check
        if healthy is not None:
            patience = self._patience(config.warmup_post_prepare_health_check_timeout)
            with warm_up.phase("post_prepare_readiness") as checks:
                await _until(healthy, sandbox, patience, stopping, checks)
        with warm_up.phase("renew"):
            await sandbox.renew(config.idle_timeout)

    def _patience(self, budget: timedelta) -> Patience:
        return Patience(budget, self._config.warmup_health_check_polling_interval)


async def _tell(hook: Callable[[Sandbox], Any], sandbox: Sandbox) -> Any:
    """Call a user's hook, and return what it says."""
    return await sandbox._connection.transport.tell(hook, sandbox)


async def _until(
    check: Callable[[Sandbox], Awaitable[bool] | bool] | None,
    sandbox: Sandbox,
    patience: Patience,
    stopping: Signal,
    counted: Checks,
) -> None:
    """Check again and again until it says yes."""
    while True:
        last: Exception | None = None
        counted.attempts += 1
        try:
            if await (_tell(check, sandbox) if check else sandbox.is_healthy()):
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
        if await stopping.wait(pause.seconds):
            raise _stopped()


def _stopped() -> PoolNotRunningException:
    return PoolNotRunningException("The pool stopped while a sandbox was being warmed up.")
