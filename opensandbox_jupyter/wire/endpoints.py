"""Where ports of sandboxes are reached: looked up once, as long as that holds. Sans-IO."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from opensandbox_jupyter.wire.base import Operation, Origin
from opensandbox_jupyter.wire.readiness import Patience, find_endpoint

if TYPE_CHECKING:
    from opensandbox_jupyter.models.endpoints import SandboxEndpoint
    from opensandbox_jupyter.wire.protocol import Protocol

__all__ = ["Endpoints"]

_SIZE = 1024


class Endpoints:
    """The endpoints that one connection knows. May be shared by threads.

    Args:
        ttl: how long one is believed, in seconds; 0 keeps none.
        size: how many are kept, the ones used last; 0 means 1024.
        use_server_proxy: whether they lead through the lifecycle server.
        clock: seconds, only ever forward.
    """

    def __init__(
        self,
        protocol: Protocol,
        server: Origin,
        *,
        ttl: float,
        size: int,
        use_server_proxy: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._protocol, self._server = protocol, server
        self._ttl, self._size, self._clock = ttl, size or _SIZE, clock
        self._proxy = use_server_proxy
        self._known: dict[tuple[str, int], tuple[SandboxEndpoint, float]] = {}
        self._forgotten = 0

    def find(
        self, sandbox_id: str, port: int, patience: Patience | None = None
    ) -> Operation[SandboxEndpoint]:
        """Return where a port is reached; with ``patience``, await a machine that still starts."""
        key = (sandbox_id, port)
        known = self._take(key)
        if known is not None:
            return known
        before = self._forgotten
        found = yield from find_endpoint(
            self._protocol,
            self._server,
            sandbox_id,
            port,
            use_server_proxy=self._proxy,
            patience=patience,
        )
        if self._forgotten == before and self._ttl > 0:
            self._known[key] = (_copy(found), self._clock() + self._ttl)
            if len(self._known) > self._size:
                with suppress(KeyError, RuntimeError):  # another thread made room
                    del self._known[next(iter(self._known))]
        return found

    def forget(self, sandbox_id: str) -> None:
        """Believe nothing of a sandbox any more, not even what is being looked up just now."""
        self._forgotten += 1
        for key in [key for key in list(self._known) if key[0] == sandbox_id]:
            self._known.pop(key, None)

    def _take(self, key: tuple[str, int]) -> SandboxEndpoint | None:
        entry = self._known.pop(key, None)
        if entry is None or self._clock() >= entry[1]:
            return None
        self._known[key] = entry  # now the last to go
        return _copy(entry[0])


def _copy(endpoint: SandboxEndpoint) -> SandboxEndpoint:
    """Return what a caller may change without harm to the next one."""
    return replace(endpoint, headers=dict(endpoint.headers))
