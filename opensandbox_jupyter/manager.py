"""Many sandboxes: list, look at, end, renew, pause and resume them by id."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from opensandbox_jupyter.connection import Connection, checked_id
from opensandbox_jupyter.sandbox import expiry_after

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.config import ConnectionConfig
    from opensandbox_jupyter.models.sandboxes import (
        PagedSandboxInfos,
        SandboxFilter,
        SandboxInfo,
        SandboxRenewResponse,
    )

__all__ = ["SandboxManager"]


class SandboxManager:
    """Administers sandboxes without connecting to each::

        async with await SandboxManager.create() as manager:
            page = await manager.list_sandbox_infos(SandboxFilter(states=["Running"]))

    Every method that takes an id raises ``SandboxApiException`` with status 404 for an unknown one.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def create(cls, connection_config: ConnectionConfig | None = None) -> Self:
        """Return a manager of the sandboxes of the configured server.

        Raises:
            LocalServerException: when the embedded server is meant and cannot be started.
        """
        return cls(await Connection.open(connection_config))

    @property
    def connection_config(self) -> ConnectionConfig:
        """The configuration in use."""
        return self._connection.config

    async def list_sandbox_infos(self, filter: SandboxFilter | None = None) -> PagedSandboxInfos:
        """Return one page of the sandboxes that match; all of them without a filter."""
        from opensandbox_jupyter.models.sandboxes import SandboxFilter

        operation = self._connection.protocol.list_sandboxes(
            self._connection.server, filter or SandboxFilter()
        )
        return await self._connection.transport.run(operation)

    async def get_sandbox_info(self, sandbox_id: str) -> SandboxInfo:
        """Return what the server knows about a sandbox."""
        operation = self._connection.protocol.get(self._connection.server, checked_id(sandbox_id))
        return await self._connection.transport.run(operation)

    async def kill_sandbox(self, sandbox_id: str) -> None:
        """End a sandbox and everything in it."""
        operation = self._connection.protocol.kill(self._connection.server, checked_id(sandbox_id))
        await self._connection.transport.run(operation)

    async def renew_sandbox(self, sandbox_id: str, timeout: timedelta) -> SandboxRenewResponse:
        """Set a sandbox's end of life to ``timeout`` from now, and return it."""
        operation = self._connection.protocol.renew(
            self._connection.server, checked_id(sandbox_id), expiry_after(timeout)
        )
        return await self._connection.transport.run(operation)

    async def pause_sandbox(self, sandbox_id: str) -> None:
        """Freeze a sandbox; 409 when it is not running."""
        operation = self._connection.protocol.pause(self._connection.server, checked_id(sandbox_id))
        await self._connection.transport.run(operation)

    async def resume_sandbox(self, sandbox_id: str) -> None:
        """Let a paused sandbox go on; 409 when it is not paused."""
        operation = self._connection.protocol.resume(
            self._connection.server, checked_id(sandbox_id)
        )
        await self._connection.transport.run(operation)

    async def close(self) -> None:
        """Close the connections. The sandboxes go on."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
