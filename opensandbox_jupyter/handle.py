"""A handle on one sandbox that exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from opensandbox_jupyter.codes import Codes
from opensandbox_jupyter.commands import Commands
from opensandbox_jupyter.connection import Connection
from opensandbox_jupyter.diagnostics import Diagnostics
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.files import Files
from opensandbox_jupyter.isolation import IsolationService
from opensandbox_jupyter.metrics import Metrics
from opensandbox_jupyter.models.durations import Duration, lasting
from opensandbox_jupyter.network import CredentialVault
from opensandbox_jupyter.ports import wait_for_port
from opensandbox_jupyter.pty import Pty
from opensandbox_jupyter.wire.base import Operation, Origin
from opensandbox_jupyter.wire.readiness import Patience, wait_ready

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.config import ConnectionConfig
    from opensandbox_jupyter.models.diagnostics import DiagnosticContent
    from opensandbox_jupyter.models.sandboxes import (
        NetworkPolicy,
        NetworkRule,
        SandboxEndpoint,
        SandboxInfo,
        SandboxMetrics,
        SandboxRenewResponse,
    )
    from opensandbox_jupyter.models.snapshots import SnapshotInfo

__all__ = ["SandboxHandle", "expiry_after"]

_READY = timedelta(seconds=30)
_INTERVAL = timedelta(milliseconds=200)
_UNKNOWN = "unknown"

T = TypeVar("T")


class SandboxHandle:
    """What can be done with a sandbox; :class:`Sandbox` makes and finds them."""

    def __init__(self, sandbox_id: str, connection: Connection, endpoint: SandboxEndpoint) -> None:
        self._id = sandbox_id
        self._connection = connection
        self._at = connection.origin_of(endpoint)
        self._files = Files(connection, self._at)
        self._commands = Commands(connection, self._at)
        self._metrics = Metrics(connection, self._at)
        self._pty = Pty(connection, self._at)
        self._vault = CredentialVault(connection, sandbox_id, endpoint.origin)
        self._diagnostics = Diagnostics(connection)
        self._origin = endpoint.origin or _UNKNOWN

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id}>"

    @property
    def id(self) -> str:
        """The sandbox's id, given by the server."""
        return self._id

    @property
    def origin(self) -> str:
        """Where it comes from: ``template``, or ``unknown``."""
        return self._origin

    @property
    def credential_vault(self) -> CredentialVault:
        """The credentials that its requests carry."""
        return self._vault

    @property
    def diagnostics(self) -> Diagnostics:
        """What the server tells when something went wrong, of any sandbox."""
        return self._diagnostics

    @property
    def connection_config(self) -> ConnectionConfig:
        """The configuration that this sandbox was reached with."""
        return self._connection.config

    @property
    def files(self) -> Files:
        """Files and directories inside."""
        return self._files

    def files_with_identity(self, uid: int, gid: int) -> Files:
        """Return the files as a user and group inside see them, by number."""
        return self._files.with_identity(uid, gid)

    @property
    def codes(self) -> Codes:
        """Code inside, as a :class:`CodeInterpreter` runs it."""
        return Codes(self._connection, self._at)

    @property
    def isolation(self) -> IsolationService:
        """Walls inside the sandbox."""
        return IsolationService(self._connection, self._at)

    @property
    def pty(self) -> Pty:
        """Terminals inside."""
        return self._pty

    @property
    def commands(self) -> Commands:
        """Commands inside."""
        return self._commands

    @property
    def metrics(self) -> Metrics:
        """Resource use."""
        return self._metrics

    async def get_info(self) -> SandboxInfo:
        """Return what the server knows: state, times, image, metadata.

        Raises:
            SandboxApiException: with status 404 when it was killed or has expired.
        """
        return await self._run(self._connection.protocol.get(self._server, self._id))

    async def get_endpoint(self, port: int) -> SandboxEndpoint:
        """Return where a port of the sandbox is reached: ``host[:port][/path]`` and headers.

        It is looked up once, and again after :meth:`pause`, :meth:`kill` or ``endpoint_cache_ttl``.

        Raises:
            InvalidArgumentException: when ``port`` is not 1 to 65535.
        """
        if not isinstance(port, int) or not 0 < port < 65536:
            raise InvalidArgumentException(f"{port!r} is not a port: give 1 to 65535.")
        return await self._run(self._connection.endpoints.find(self._id, port))

    async def wait_for_port(self, port: int, *, timeout: Duration = _READY) -> SandboxEndpoint:
        """Wait until a server inside answers on ``port``, and return where it is reached.

        It is asked for ``/`` by HTTP, through the sandbox's daemon; any answer will do. One that
        speaks no HTTP is found among the sandbox's listening sockets.

        Args:
            port: where it listens inside.
            timeout: how long to wait, seconds or a timedelta.

        Raises:
            InvalidArgumentException: when ``port`` is not 1 to 65535.
            SandboxReadyTimeoutException: when nothing answers in time.
        """
        endpoint = await self.get_endpoint(port)
        await wait_for_port(self._connection, self._at, port, timeout)
        return endpoint

    async def get_signed_endpoint(self, port: int, expires: int) -> SandboxEndpoint:
        """Return where a port is reached without any header, until ``expires`` (Unix seconds).

        Raises:
            SandboxApiException: when the server does not sign, or the moment has passed.
        """
        return await self._run(
            self._connection.protocol.signed_endpoint(self._server, self._id, port, expires)
        )

    async def get_diagnostic_logs(self, scope: str) -> DiagnosticContent:
        """Return the end of what the sandbox wrote; ``scope`` is ``container`` or ``all``."""
        return await self._diagnostics.get_logs(self._id, scope)

    async def get_diagnostic_events(self, scope: str) -> DiagnosticContent:
        """Return what happened to the sandbox; ``scope`` is ``runtime`` or ``all``."""
        return await self._diagnostics.get_events(self._id, scope)

    async def patch_metadata(self, patch: Mapping[str, str | None]) -> SandboxInfo:
        """Set labels, remove those that are ``None``, and return what the server knows.

        Raises:
            SandboxApiException: with status 400 for what is no label.
        """
        return await self._run(
            self._connection.protocol.patch_metadata(self._server, self._id, patch)
        )

    async def create_snapshot(self, name: str | None = None) -> SnapshotInfo:
        """Begin to keep the sandbox's files; ask a manager until the snapshot is ``Ready``.

        Raises:
            SandboxApiException: with status 409 when the sandbox is not running.
        """
        return await self._run(
            self._connection.protocol.create_snapshot(self._server, self._id, name)
        )

    async def get_egress_policy(self) -> NetworkPolicy:
        """Return what the sandbox may reach now."""
        return await self._vault.get_policy()

    async def patch_egress_rules(self, rules: Sequence[NetworkRule]) -> None:
        """Put ``rules`` before the others of the sandbox's network policy."""
        await self._vault.patch_rules(rules)

    async def delete_egress_rules(self, targets: Sequence[str]) -> None:
        """Remove the rules of ``targets`` from the sandbox's network policy."""
        await self._vault.delete_rules(targets)

    async def get_metrics(self) -> SandboxMetrics:
        """Return CPU (cores, percent) and memory (MiB) in use now."""
        return await self._metrics.get_metrics()

    async def renew(self, timeout: Duration) -> SandboxRenewResponse:
        """Set the end of life to ``timeout`` from now, seconds or a timedelta, and return it.

        Raises:
            InvalidArgumentException: when ``timeout`` is no length of time above 0.
        """
        moment = expiry_after(timeout)
        return await self._run(self._connection.protocol.renew(self._server, self._id, moment))

    async def pause(self) -> None:
        """Freeze the sandbox; :meth:`resume` lets it go on. Its lifetime goes on meanwhile.

        Raises:
            SandboxApiException: with status 409 when it is not running.
        """
        try:
            await self._run(self._connection.protocol.pause(self._server, self._id))
        finally:
            self._connection.endpoints.forget(self._id)

    async def kill(self) -> None:
        """End the sandbox and everything in it, for good. The handle stays open.

        Raises:
            SandboxApiException: with status 404 when it is already gone.
        """
        try:
            await self._run(self._connection.protocol.kill(self._server, self._id))
        finally:
            self._connection.endpoints.forget(self._id)

    async def close(self) -> None:
        """Close this handle's connections. The sandbox goes on."""
        await self._connection.close()

    async def destroy(self) -> None:
        """Kill the sandbox, then close this handle."""
        try:
            await self.kill()
        finally:
            await self.close()

    async def is_healthy(self) -> bool:
        """Return whether the sandbox answers."""
        try:
            await self._run(self._connection.protocol.ping(self._at))
        except SandboxException:
            return False
        return True

    async def check_ready(
        self, timeout: Duration = _READY, polling_interval: Duration = _INTERVAL
    ) -> None:
        """Wait until the sandbox answers.

        Raises:
            SandboxReadyTimeoutException: when it does not within ``timeout``.
        """
        patience = Patience(timeout, polling_interval)
        await self._run(
            wait_ready(
                self._connection.protocol, self._at, self._id, custom=False, patience=patience
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def _server(self) -> Origin:
        return self._connection.server

    async def _run(self, operation: Operation[T]) -> T:
        return await self._connection.transport.run(operation)


def expiry_after(timeout: Duration) -> datetime:
    """Return the moment ``timeout`` from now, UTC.

    Raises:
        InvalidArgumentException: when ``timeout`` is no length of time above 0.
    """
    return datetime.now(timezone.utc) + lasting(timeout)
