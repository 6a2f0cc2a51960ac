"""One sandbox: made, found, used and ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from opensandbox_jupyter.codes import Codes
from opensandbox_jupyter.commands import Commands
from opensandbox_jupyter.connection import Connection, checked_id
from opensandbox_jupyter.constants import DEFAULT_EXECD_PORT
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.files import Files
from opensandbox_jupyter.metrics import Metrics
from opensandbox_jupyter.models.spec import SandboxSpec, positive
from opensandbox_jupyter.ports import wait_for_port
from opensandbox_jupyter.pty import Pty
from opensandbox_jupyter.wire.base import Operation, Origin
from opensandbox_jupyter.wire.readiness import Patience, find_endpoint, wait_ready

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.config import ConnectionConfig
    from opensandbox_jupyter.models.sandboxes import (
        NetworkPolicy,
        PlatformSpec,
        SandboxEndpoint,
        SandboxImageSpec,
        SandboxInfo,
        SandboxMetrics,
        SandboxRenewResponse,
        Volume,
    )

__all__ = ["Sandbox"]

_LIFETIME = timedelta(minutes=10)
_READY = timedelta(seconds=30)
_INTERVAL = timedelta(milliseconds=200)

T = TypeVar("T")
HealthCheck = Callable[["Sandbox"], Awaitable[bool]]


class Sandbox:
    """An isolated machine for running untrusted code.

    Made by :meth:`create`, :meth:`connect` or :meth:`resume`::

        async with await Sandbox.create("python:3.11") as sandbox:
            execution = await sandbox.commands.run("echo hello")
            print(execution.stdout)
            await sandbox.kill()

    Leaving the ``with`` block closes the connections; the sandbox itself goes on until it is
    killed or expires. The lifecycle is specified by the OpenSandbox lifecycle API.
    """

    def __init__(self, sandbox_id: str, connection: Connection, endpoint: SandboxEndpoint) -> None:
        self._id = sandbox_id
        self._connection = connection
        self._at = connection.origin_of(endpoint)
        self._files = Files(connection, self._at)
        self._commands = Commands(connection, self._at)
        self._metrics = Metrics(connection, self._at)
        self._pty = Pty(connection, self._at)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id}>"

    @property
    def id(self) -> str:
        """The sandbox's id, given by the server."""
        return self._id

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

    @classmethod
    async def create(
        cls,
        image: SandboxImageSpec | str | None = None,
        *,
        snapshot_id: str | None = None,
        timeout: timedelta | None = _LIFETIME,
        ready_timeout: timedelta = _READY,
        env: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        resource: Mapping[str, str] | None = None,
        platform: PlatformSpec | None = None,
        network_policy: NetworkPolicy | None = None,
        extensions: Mapping[str, str] | None = None,
        secure_access: bool = False,
        entrypoint: Sequence[str] | None = None,
        volumes: Sequence[Volume] | None = None,
        connection_config: ConnectionConfig | None = None,
        health_check: HealthCheck | None = None,
        health_check_polling_interval: timedelta = _INTERVAL,
        skip_health_check: bool = False,
    ) -> Self:
        """Create a sandbox and wait until it is ready.

        A sandbox that does not become ready, or whose creation is interrupted, is killed.

        Args:
            image: the image, by name or with credentials; or give ``snapshot_id``.
            snapshot_id: the snapshot to start from.
            timeout: the sandbox's lifetime; ``None`` for one that only a kill ends.
            ready_timeout: how long to wait for it.
            env: environment variables of all its commands.
            metadata: labels, to find it by.
            resource: limits such as ``{"cpu": "1", "memory": "2Gi"}`` (the default).
            platform: operating system and processor.
            network_policy: what it may reach.
            extensions: passed to the server as they are.
            secure_access: ask for a token on its endpoints (Kubernetes gateways).
            entrypoint: its first program, as a list of words; by default one that just waits.
            volumes: what to mount.
            connection_config: which server; by default see :class:`ConnectionConfig`.
            health_check: your own test of readiness, called with the sandbox; returns a bool.
            health_check_polling_interval: the longest pause between two tests.
            skip_health_check: do not wait.

        Raises:
            InvalidArgumentException: for arguments that go against each other.
            SandboxApiException: when the server refuses.
            SandboxReadyTimeoutException: when it is not ready in time.
            LocalServerException: when the embedded server cannot be started.
        """
        spec = SandboxSpec(
            image=image,
            snapshot_id=snapshot_id,
            timeout=timeout,
            env=env,
            metadata=metadata,
            resource=resource,
            platform=platform,
            network_policy=network_policy,
            extensions=extensions,
            secure_access=secure_access,
            entrypoint=entrypoint,
            volumes=volumes,
        )
        patience = Patience(ready_timeout, health_check_polling_interval)
        connection = await Connection.open(connection_config)
        try:
            created = await connection.transport.run(
                connection.protocol.create(connection.server, spec)
            )
            try:
                return await cls._reach(
                    connection, created.id, patience, health_check, skip=skip_health_check
                )
            except BaseException:
                kill = connection.protocol.kill(connection.server, created.id)
                await connection.transport.insist(kill)
                raise
        except BaseException:
            await connection.close()
            raise

    @classmethod
    async def connect(
        cls,
        sandbox_id: str,
        connection_config: ConnectionConfig | None = None,
        health_check: HealthCheck | None = None,
        connect_timeout: timedelta = _READY,
        health_check_polling_interval: timedelta = _INTERVAL,
        skip_health_check: bool = False,
    ) -> Self:
        """Return a handle on a sandbox that exists, by its id.

        Raises:
            SandboxApiException: when there is no such sandbox (404).
            SandboxReadyTimeoutException: when it does not answer in time.
        """
        checked_id(sandbox_id)
        patience = Patience(connect_timeout, health_check_polling_interval)
        connection = await Connection.open(connection_config)
        try:
            return await cls._reach(
                connection, sandbox_id, patience, health_check, skip=skip_health_check
            )
        except BaseException:
            await connection.close()
            raise

    @classmethod
    async def resume(
        cls,
        sandbox_id: str,
        connection_config: ConnectionConfig | None = None,
        health_check: HealthCheck | None = None,
        resume_timeout: timedelta = _READY,
        health_check_polling_interval: timedelta = _INTERVAL,
        skip_health_check: bool = False,
    ) -> Self:
        """Resume a paused sandbox and return a new handle on it.

        Raises:
            SandboxApiException: when there is no such sandbox (404) or it is not paused (409).
            SandboxReadyTimeoutException: when it does not answer in time.
        """
        checked_id(sandbox_id)
        patience = Patience(resume_timeout, health_check_polling_interval)
        connection = await Connection.open(connection_config)
        try:
            await connection.transport.run(
                connection.protocol.resume(connection.server, sandbox_id)
            )
            return await cls._reach(
                connection, sandbox_id, patience, health_check, skip=skip_health_check
            )
        except BaseException:
            await connection.close()
            raise

    async def get_info(self) -> SandboxInfo:
        """Return what the server knows: state, times, image, metadata.

        Raises:
            SandboxApiException: with status 404 when it was killed or has expired.
        """
        return await self._run(self._connection.protocol.get(self._server, self._id))

    async def get_endpoint(self, port: int) -> SandboxEndpoint:
        """Return where a port of the sandbox is reached: ``host[:port][/path]`` and headers.

        Raises:
            InvalidArgumentException: when ``port`` is not 1 to 65535.
        """
        if not isinstance(port, int) or not 0 < port < 65536:
            raise InvalidArgumentException(f"{port!r} is not a port: give 1 to 65535.")
        proxy = self._connection.config.get_use_server_proxy()
        return await self._run(
            self._connection.protocol.endpoint(self._server, self._id, port, use_server_proxy=proxy)
        )

    async def wait_for_port(
        self, port: int, *, timeout: float | timedelta = _READY
    ) -> SandboxEndpoint:
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
        most = timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout)
        await wait_for_port(self._connection, self._at, port, most)
        return endpoint

    async def get_metrics(self) -> SandboxMetrics:
        """Return CPU (cores, percent) and memory (MiB) in use now."""
        return await self._metrics.get_metrics()

    async def renew(self, timeout: timedelta) -> SandboxRenewResponse:
        """Set the end of life to ``timeout`` from now, and return it.

        Raises:
            InvalidArgumentException: when ``timeout`` is not a positive timedelta.
        """
        moment = expiry_after(timeout)
        return await self._run(self._connection.protocol.renew(self._server, self._id, moment))

    async def pause(self) -> None:
        """Freeze the sandbox; :meth:`resume` lets it go on. Its lifetime goes on meanwhile.

        Raises:
            SandboxApiException: with status 409 when it is not running.
        """
        await self._run(self._connection.protocol.pause(self._server, self._id))

    async def kill(self) -> None:
        """End the sandbox and everything in it, for good. The handle stays open.

        Raises:
            SandboxApiException: with status 404 when it is already gone.
        """
        await self._run(self._connection.protocol.kill(self._server, self._id))

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
        self, timeout: timedelta = _READY, polling_interval: timedelta = _INTERVAL
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

    @classmethod
    async def _reach(
        cls,
        connection: Connection,
        sandbox_id: str,
        patience: Patience,
        health_check: HealthCheck | None,
        *,
        skip: bool,
    ) -> Self:
        """Find the sandbox's daemon and wait for it."""
        endpoint = await connection.transport.run(
            find_endpoint(
                connection.protocol,
                connection.server,
                sandbox_id,
                DEFAULT_EXECD_PORT,
                use_server_proxy=connection.config.get_use_server_proxy(),
                patience=patience,
            )
        )
        sandbox = cls(sandbox_id, connection, endpoint)
        if not skip:
            ready = wait_ready(
                connection.protocol,
                sandbox._at,
                sandbox_id,
                custom=health_check is not None,
                patience=patience,
            )
            check = None if health_check is None else partial(health_check, sandbox)
            await connection.transport.run(ready, check)
        return sandbox

    @property
    def _server(self) -> Origin:
        return self._connection.server

    async def _run(self, operation: Operation[T]) -> T:
        return await self._connection.transport.run(operation)


def expiry_after(timeout: timedelta) -> datetime:
    """Return the moment ``timeout`` from now, UTC.

    Raises:
        InvalidArgumentException: when ``timeout`` is not a positive timedelta.
    """
    return datetime.now(timezone.utc) + positive(timeout)
