"""Destroys pools.

Generated from ``pools/manager.py`` by ``scripts/make_sync.py``: change that file, ``make
generate``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from opensandbox_jupyter.config import ConnectionConfigSync
from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    PoolDestroyedException,
    PoolDestroyIncompleteException,
)
from opensandbox_jupyter.pools.types import (
    PoolDestroyOptions,
    PoolDestroyResult,
    PoolDestroyState,
    PoolDestroyStrategy,
)
from opensandbox_jupyter.sync.manager import SandboxManagerSync
from opensandbox_jupyter.sync.pools.disposal import AT_ONCE, end_sandboxes

if TYPE_CHECKING:
    from opensandbox_jupyter.sync.pools.stores import PoolStateStore

__all__ = ["SandboxPoolManagerSync"]


class SandboxPoolManagerSync:
    """Destroys pools by name, whoever keeps them.

    Args:
        state_store: the store of the pools.
        connection_config: the server of their sandboxes.
        owner_id: who this is, for those who look into the store.
        sandbox_manager_factory: makes the manager that ends sandboxes.
    """

    def __init__(
        self,
        *,
        state_store: PoolStateStore,
        connection_config: ConnectionConfigSync | None = None,
        owner_id: str | None = None,
        sandbox_manager_factory: Callable[
            [ConnectionConfigSync], SandboxManagerSync
        ] = SandboxManagerSync.create,
    ) -> None:
        self._store = state_store
        self._owner_id = owner_id or f"pool-manager-{uuid4()}"
        self._open_manager = partial(
            sandbox_manager_factory, connection_config or ConnectionConfigSync()
        )

    def destroy(
        self, pool_name: str, options: PoolDestroyOptions | None = None
    ) -> PoolDestroyResult:
        """Shut a pool's name for everybody, end its warm sandboxes, and forget its state.

        Pools of that name stop by themselves. Sandboxes that were acquired go on. A pool that is
        destroyed already stays so, and the result counts nothing.

        Raises:
            PoolDestroyIncompleteException: when something could not be ended or forgotten in
                time. The name stays shut, and what is left stays in the store: destroy it again.
            PoolStateStoreUnavailableException: when the store does not answer at the beginning.
        """
        options = options or PoolDestroyOptions()
        if options.strategy is not PoolDestroyStrategy.FORCE:
            raise InvalidArgumentException("The only strategy is PoolDestroyStrategy.FORCE.")
        try:
            self._store.begin_destroy(pool_name, self._owner_id)
        except PoolDestroyedException:
            return PoolDestroyResult(pool_name, PoolDestroyState.DESTROYED, 0, 0, False)
        try:
            count = self._drain(pool_name, options.drain_timeout.total_seconds())
            self._store.clear_pool_state(pool_name)
            self._store.mark_destroyed(pool_name, self._owner_id, options.tombstone_ttl)
        except PoolDestroyIncompleteException:
            raise
        except Exception as error:
            raise _incomplete(pool_name, f"The store failed: {error}") from error
        return PoolDestroyResult(pool_name, PoolDestroyState.DESTROYED, count, count, True)

    def _drain(self, pool_name: str, seconds: float) -> int:
        """End all warm sandboxes and return how many there were; what is ended is forgotten."""
        end, count = time.monotonic() + seconds, 0
        while batch := (self._store.snapshot_idle_entries(pool_name))[:AT_ONCE]:
            if seconds and time.monotonic() > end:
                raise _incomplete(pool_name, f"Its warm sandboxes did not end in {seconds:g} s.")
            ids = [entry.sandbox_id for entry in batch]
            left = end_sandboxes(self._open_manager, ids)
            for sandbox_id in set(ids) - set(left):
                self._store.remove_idle(pool_name, sandbox_id)
            if left:
                raise _incomplete(pool_name, f"Warm sandboxes could not be ended: {left}.")
            count += len(ids)
        return count


def _incomplete(pool_name: str, why: str) -> PoolDestroyIncompleteException:
    return PoolDestroyIncompleteException(
        f"The pool {pool_name!r} is destroyed only in part. {why}",
        hint="Destroy it again to go on; until then nobody can use it.",
    )
