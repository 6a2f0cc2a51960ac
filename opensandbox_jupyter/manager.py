"""Many sandboxes: list, look at, end, renew, pause and resume them by id."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from opensandbox_jupyter.connection import Connection, checked_id
from opensandbox_jupyter.diagnostics import Diagnostics
from opensandbox_jupyter.handle import expiry_after
from opensandbox_jupyter.models.durations import Duration
from opensandbox_jupyter.wire.base import Operation, Origin

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.config import ConnectionConfig
    from opensandbox_jupyter.models.diagnostics import DiagnosticContent
    from opensandbox_jupyter.models.sandboxes import (
        PagedSandboxInfos,
        SandboxFilter,
        SandboxInfo,
        SandboxRenewResponse,
    )
    from opensandbox_jupyter.models.snapshots import (
        PagedSnapshotInfos,
        SnapshotFilter,
        SnapshotInfo,
    )
    from opensandbox_jupyter.models.templates import (
        CreateTemplateRequest,
        PagedTemplateInfos,
        TemplateFilter,
        TemplateInfo,
    )

__all__ = ["SandboxManager"]

T = TypeVar("T")


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

    async def renew_sandbox(self, sandbox_id: str, timeout: Duration) -> SandboxRenewResponse:
        """Set a sandbox's end of life to ``timeout`` (seconds, a timedelta) from now; return it."""
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

    async def patch_sandbox_metadata(
        self, sandbox_id: str, patch: Mapping[str, str | None]
    ) -> SandboxInfo:
        """Set a sandbox's labels, and remove those that are ``None``."""
        protocol, wanted = self._connection.protocol, checked_id(sandbox_id)
        return await self._run(protocol.patch_metadata(self._server, wanted, patch))

    async def get_diagnostic_logs(self, sandbox_id: str, scope: str) -> DiagnosticContent:
        """Return the end of what a sandbox wrote; ``scope`` is ``container`` or ``all``."""
        return await Diagnostics(self._connection).get_logs(sandbox_id, scope)

    async def get_diagnostic_events(self, sandbox_id: str, scope: str) -> DiagnosticContent:
        """Return what happened to a sandbox; ``scope`` is ``runtime`` or ``all``."""
        return await Diagnostics(self._connection).get_events(sandbox_id, scope)

    async def create_snapshot(self, sandbox_id: str, name: str | None = None) -> SnapshotInfo:
        """Begin to keep a sandbox's files; look again until the snapshot is ``Ready``."""
        protocol, wanted = self._connection.protocol, checked_id(sandbox_id)
        return await self._run(protocol.create_snapshot(self._server, wanted, name))

    async def get_snapshot(self, snapshot_id: str) -> SnapshotInfo:
        """Return a snapshot and how far it is."""
        wanted = checked_id(snapshot_id, "snapshot id")
        return await self._run(self._connection.protocol.get_snapshot(self._server, wanted))

    async def list_snapshots(self, filter: SnapshotFilter | None = None) -> PagedSnapshotInfos:
        """Return one page of the snapshots that match; all of them without a filter."""
        from opensandbox_jupyter.models.snapshots import SnapshotFilter

        which = filter or SnapshotFilter()
        return await self._run(self._connection.protocol.list_snapshots(self._server, which))

    async def delete_snapshot(self, snapshot_id: str) -> None:
        """Remove a snapshot; sandboxes that began from it go on."""
        wanted = checked_id(snapshot_id, "snapshot id")
        await self._run(self._connection.protocol.delete_snapshot(self._server, wanted))

    async def create_template(self, request: CreateTemplateRequest) -> TemplateInfo:
        """Begin to build a template; look again until its phase is ``Succeeded``."""
        return await self._run(self._connection.protocol.create_template(self._server, request))

    async def get_template(self, template_id: str) -> TemplateInfo:
        """Return a template and how far it is."""
        wanted = checked_id(template_id, "template id")
        return await self._run(self._connection.protocol.get_template(self._server, wanted))

    async def list_templates(self, filter: TemplateFilter | None = None) -> PagedTemplateInfos:
        """Return one page of the templates that match; all of them without a filter."""
        from opensandbox_jupyter.models.templates import TemplateFilter

        which = filter or TemplateFilter()
        return await self._run(self._connection.protocol.list_templates(self._server, which))

    async def delete_template(self, template_id: str) -> None:
        """Remove a template; sandboxes that began from it go on."""
        wanted = checked_id(template_id, "template id")
        await self._run(self._connection.protocol.delete_template(self._server, wanted))

    @property
    def _server(self) -> Origin:
        return self._connection.server

    async def _run(self, operation: Operation[T]) -> T:
        return await self._connection.transport.run(operation)

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
