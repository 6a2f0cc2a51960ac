"""Walls inside a sandbox: sessions that see only a part of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from opensandbox_jupyter.connection import Connection, checked_id
from opensandbox_jupyter.files import Files
from opensandbox_jupyter.following import Run
from opensandbox_jupyter.models.checking import raise_for_exit
from opensandbox_jupyter.models.durations import Duration
from opensandbox_jupyter.models.execution import (
    Execution,
    ExecutionHandlers,
    Handler,
    OutputMessage,
)
from opensandbox_jupyter.models.merging import merged_handlers, merged_isolated_opts
from opensandbox_jupyter.models.output import MOST_KEPT
from opensandbox_jupyter.wire.base import Operation, Origin
from opensandbox_jupyter.wire.execution import Notice

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
        check: bool = False,
        timeout: Duration | None = None,
        env: Mapping[str, str] | None = None,
        on_stdout: Handler[OutputMessage] | None = None,
        keep_running: bool = False,
        keep_output: int | None = MOST_KEPT,
    ) -> Execution:
        """Run shell code inside and return what became of it. Its error output is in ``stdout``.

        When the wait is cancelled or interrupted, a handler fails, or the connection breaks, our
        daemon ends the run; with others it may go on until the session is deleted.

        Args:
            code: what to run.
            opts: environment and time limit.
            handlers: functions to call with output and other events.
            check: raise when the code fails.
            timeout: seconds, or a timedelta, after which it is killed, in whole seconds; also in
                ``opts``.
            env: variables to add to its environment; also in ``opts``.
            on_stdout: called with each piece of output; also in ``handlers``.
            keep_running: let it go on when nobody waits any more.
            keep_output: how many characters of output are kept; see ``Commands.run``.

        Raises:
            InvalidArgumentException: for empty code, or options that go against each other.
            SandboxApiException: when the session is gone.
            ExecutionDisconnected: when the connection breaks before the end.
            CommandFailed: with ``check``, when the exit code is not 0.
        """
        handlers = merged_handlers(handlers, on_stdout, None)
        run = self._begin(code, merged_isolated_opts(opts, timeout, env), keep=keep_running)
        execution = await run.follow(handlers, keep_output)
        if check:
            raise_for_exit(execution)
        return execution

    async def stream(
        self,
        code: str,
        *,
        opts: IsolatedRunOpts | None = None,
        timeout: Duration | None = None,
        env: Mapping[str, str] | None = None,
        keep_running: bool = False,
    ) -> AsyncGenerator[Notice, None]:
        """Run shell code inside and give its events as they come; nothing of them is kept.

        The code waits when nobody takes its events. Arguments and errors are those of :meth:`run`.
        """
        run = self._begin(code, merged_isolated_opts(opts, timeout, env), keep=keep_running)
        async with aclosing(run.stream()) as notices:
            async for notice in notices:
                yield notice

    def _begin(self, code: str, opts: IsolatedRunOpts, *, keep: bool) -> Run:
        protocol = self._connection.protocol
        call = protocol.run_isolated(self._at, code, opts)
        return Run(self._connection, protocol.when_left(call, "go-on") if keep else call)

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
        check: bool = False,
        timeout: Duration | None = None,
        env: Mapping[str, str] | None = None,
        on_stdout: Handler[OutputMessage] | None = None,
        keep_output: int | None = MOST_KEPT,
    ) -> Execution:
        """Open a session, run shell code in it, and end it again; see :meth:`session`."""
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
            return await session.run(
                code,
                opts=opts,
                handlers=handlers,
                check=check,
                timeout=timeout,
                env=env,
                on_stdout=on_stdout,
                keep_output=keep_output,
            )

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
