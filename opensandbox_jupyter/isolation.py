"""Walls inside a sandbox: sessions that see only a part of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from opensandbox_jupyter.connection import Connection, checked_id
from opensandbox_jupyter.files import Files
from opensandbox_jupyter.following import follow
from opensandbox_jupyter.models.execution import Execution, ExecutionHandlers
from opensandbox_jupyter.wire.base import Operation, Origin

if TYPE_CHECKING:
    from opensandbox_jupyter.models.isolated import (
        BindMount,
        CreateIsolatedSessionRequest,
        IsolatedBackgroundRun,
        IsolatedCapabilities,
        IsolatedRunLogs,
        IsolatedRunOpts,
        IsolatedRunStatus,
        IsolatedSessionInfo,
        IsolatedSessionState,
        IsolatedSessionSummary,
    )

__all__ = ["IsolationService", "IsolationSession"]

T = TypeVar("T")


class IsolationSession:
    """One isolated session. Got from ``sandbox.isolation``."""

    def __init__(self, connection: Connection, at: Origin, info: IsolatedSessionInfo) -> None:
        self._connection = connection
        self._at = at
        self._info = info

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._info.session_id

    @property
    def info(self) -> IsolatedSessionInfo:
        """How it was made."""
        return self._info

    @property
    def files(self) -> Files:
        """Files and directories as the session sees them."""
        return Files(self._connection, self._at)

    async def run(
        self,
        code: str,
        *,
        opts: IsolatedRunOpts | None = None,
        handlers: ExecutionHandlers | None = None,
    ) -> Execution:
        """Run shell code inside and return what became of it. Its error output is in ``stdout``.

        Raises:
            InvalidArgumentException: for empty code.
            SandboxApiException: when the session is gone.
        """
        from opensandbox_jupyter.models.isolated import IsolatedRunOpts

        async def end(_: Execution) -> None:
            """The daemon ends a run whose client has left; it has no id to ask by."""

        wanted = opts or IsolatedRunOpts()
        call = self._connection.protocol.run_isolated(self._at, code, wanted)
        return await follow(self._connection, call, handlers, end)

    async def run_background(
        self, code: str, *, opts: IsolatedRunOpts | None = None
    ) -> IsolatedBackgroundRun:
        """Start shell code inside that goes on by itself; ask for it by its ``run_id``."""
        from opensandbox_jupyter.models.isolated import IsolatedRunOpts

        wanted = opts or IsolatedRunOpts()
        protocol = self._connection.protocol
        return await self._run(protocol.run_isolated_background(self._at, code, wanted))

    async def run_status(self, run_id: str) -> IsolatedRunStatus:
        """Return how a background run fares."""
        wanted = checked_id(run_id, "run id")
        return await self._run(self._connection.protocol.isolated_run_status(self._at, wanted))

    async def run_logs(self, run_id: str, cursor: int = 0) -> IsolatedRunLogs:
        """Return what a background run has written, from the byte ``cursor`` on."""
        wanted, protocol = checked_id(run_id, "run id"), self._connection.protocol
        return await self._run(protocol.isolated_run_logs(self._at, wanted, cursor))

    async def get(self) -> IsolatedSessionState:
        """Return how the session fares."""
        return await self._run(self._connection.protocol.get_isolated(self._at))

    async def delete(self) -> None:
        """End the session and everything in it."""
        await self._run(self._connection.protocol.delete_isolated(self._at))

    async def _run(self, operation: Operation[T]) -> T:
        return await self._connection.transport.run(operation)


class IsolationService:
    """Opens isolated sessions. Got from ``sandbox.isolation``.

    The sandbox must have been created with the extension
    ``bootstrap.execd.isolation="enable"``; without it every session is refused with 503.
    """

    def __init__(self, connection: Connection, at: Origin) -> None:
        self._connection = connection
        self._at = at

    async def create(self, request: CreateIsolatedSessionRequest) -> IsolationSession:
        """Open a session.

        Raises:
            SandboxApiException: 503 where there are none, 400 for what cannot be mounted.
        """
        protocol = self._connection.protocol
        return self._session(await self._run(protocol.create_isolated(self._at, request)))

    async def attach(self, session_id: str) -> IsolationSession:
        """Return a handle on a session that exists; 404 when there is none of that id."""
        from opensandbox_jupyter.models.isolated import IsolatedSessionInfo

        protocol = self._connection.protocol
        at = protocol.isolated_origin(self._at, checked_id(session_id, "session id"))
        state = await self._run(protocol.get_isolated(at))
        fields = IsolatedSessionInfo.model_fields.keys() - {"session_id"}
        known = {name: getattr(state, name) for name in fields}
        return self._session(IsolatedSessionInfo(session_id=session_id, **known))

    async def capabilities(self) -> IsolatedCapabilities:
        """Return whether sessions can be had here, and of which kinds."""
        return await self._run(self._connection.protocol.isolated_capabilities(self._at))

    async def list(self) -> list[IsolatedSessionSummary]:
        """Return all sessions."""
        return await self._run(self._connection.protocol.list_isolated(self._at))

    async def run_once(
        self,
        code: str,
        *,
        workspace: str,
        workspace_mode: str | None = None,
        opts: IsolatedRunOpts | None = None,
        handlers: ExecutionHandlers | None = None,
        profile: str | None = None,
        share_net: bool | None = None,
        binds: Sequence[BindMount] | None = None,
    ) -> Execution:
        """Open a session, run shell code in it, and end it again."""
        from opensandbox_jupyter.models.isolated import (
            CreateIsolatedSessionRequest,
            IsolatedWorkspaceSpec,
        )

        request = CreateIsolatedSessionRequest.model_validate(
            {
                "workspace": IsolatedWorkspaceSpec(path=workspace, mode=workspace_mode),
                "profile": profile,
                "share_net": share_net,
                "binds": None if binds is None else [*binds],
            }
        )
        async with self.session(request) as session:
            return await session.run(code, opts=opts, handlers=handlers)

    @asynccontextmanager
    async def session(
        self, request: CreateIsolatedSessionRequest
    ) -> AsyncIterator[IsolationSession]:
        """Open a session for a ``with`` block, and end it with the block."""
        session = await self.create(request)
        try:
            yield session
        finally:
            operation = self._connection.protocol.delete_isolated(session._at)
            await self._connection.transport.insist(operation)

    def _session(self, info: IsolatedSessionInfo) -> IsolationSession:
        at = self._connection.protocol.isolated_origin(self._at, info.session_id)
        return IsolationSession(self._connection, at, info)

    async def _run(self, operation: Operation[T]) -> T:
        return await self._connection.transport.run(operation)
