"""One sandbox: made, found, used and ended.

Generated from ``sandbox.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from opensandbox_jupyter.constants import DEFAULT_EXECD_PORT
from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.models.spec import SandboxSpec, positive
from opensandbox_jupyter.sync.codes import CodesSync
from opensandbox_jupyter.sync.commands import CommandsSync
from opensandbox_jupyter.sync.connection import ConnectionSync, checked_id
from opensandbox_jupyter.sync.files import FilesSync
from opensandbox_jupyter.sync.metrics import MetricsSync
from opensandbox_jupyter.sync.ports import wait_for_port
from opensandbox_jupyter.sync.pty import PtySync
from opensandbox_jupyter.wire.base import Operation, Origin
from opensandbox_jupyter.wire.readiness import Patience, find_endpoint, wait_ready

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.config import ConnectionConfigSync
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

__all__ = ["SandboxSync"]

_LIFETIME = timedelta(minutes=10)
_READY = timedelta(seconds=30)
_INTERVAL = timedelta(milliseconds=200)

T = TypeVar("T")
HealthCheck = Callable[["SandboxSync"], bool]


class SandboxSync:
    """An isolated machine for running untrusted code.

    Made by :meth:`create`, :meth:`connect` or :meth:`resume`::

        with SandboxSync.create("python:3.11") as sandbox:
            execution = sandbox.commands.run("echo hello")
            print(execution.stdout)
            sandbox.kill()

    Leaving the ``with`` block closes the connections; the sandbox itself goes on until it is
    killed or expires. The lifecycle is specified by the OpenSandbox lifecycle API.
    """

    def __init__(
        self, sandbox_id: str, connection: ConnectionSync, endpoint: SandboxEndpoint
    ) -> None:
        self._id = sandbox_id
        self._connection = connection
        self._at = connection.origin_of(endpoint)
        self._files = FilesSync(connection, self._at)
        self._commands = CommandsSync(connection, self._at)
        self._metrics = MetricsSync(connection, self._at)
        self._pty = PtySync(connection, self._at)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id}>"

    @property
    def id(self) -> str:
        """The sandbox's id, given by the server."""
        return self._id

    @property
    def connection_config(self) -> ConnectionConfigSync:
        """The configuration that this sandbox was reached with."""
        return self._connection.config

    @property
    def files(self) -> FilesSync:
        """Files and directories inside."""
        return self._files

    def files_with_identity(self, uid: int, gid: int) -> FilesSync:
        """Return the files as a user and group inside see them, by number."""
        return self._files.with_identity(uid, gid)

    @property
    def codes(self) -> CodesSync:
        """Code inside, as a :class:`CodeInterpreter` runs it."""
        return CodesSync(self._connection, self._at)

    @property
    def pty(self) -> PtySync:
        """Terminals inside."""
        return self._pty

    @property
    def commands(self) -> CommandsSync:
        """Commands inside."""
        return self._commands

    @property
    def metrics(self) -> MetricsSync:
        """Resource use."""
        return self._metrics

    @classmethod
    def create(
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
        connection_config: ConnectionConfigSync | None = None,
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
            connection_config: which server; by default see :class:`ConnectionConfigSync`.
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
        connection = ConnectionSync.open(connection_config)
        try:
            created = connection.transport.run(connection.protocol.create(connection.server, spec))
            try:
                return cls._reach(
                    connection, created.id, patience, health_check, skip=skip_health_check
                )
            except BaseException:
                kill = connection.protocol.kill(connection.server, created.id)
                connection.transport.insist(kill)
                raise
        except BaseException:
            connection.close()
            raise

    @classmethod
    def connect(
        cls,
        sandbox_id: str,
        connection_config: ConnectionConfigSync | None = None,
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
        connection = ConnectionSync.open(connection_config)
        try:
            return cls._reach(
                connection, sandbox_id, patience, health_check, skip=skip_health_check
            )
        except BaseException:
            connection.close()
            raise

    @classmethod
    def resume(
        cls,
        sandbox_id: str,
        connection_config: ConnectionConfigSync | None = None,
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
        connection = ConnectionSync.open(connection_config)
        try:
            connection.transport.run(connection.protocol.resume(connection.server, sandbox_id))
            return cls._reach(
                connection, sandbox_id, patience, health_check, skip=skip_health_check
            )
        except BaseException:
            connection.close()
            raise

    def get_info(self) -> SandboxInfo:
        """Return what the server knows: state, times, image, metadata.

        Raises:
            SandboxApiException: with status 404 when it was killed or has expired.
        """
        return self._run(self._connection.protocol.get(self._server, self._id))

    def get_endpoint(self, port: int) -> SandboxEndpoint:
        """Return where a port of the sandbox is reached: ``host[:port][/path]`` and headers.

        Raises:
            InvalidArgumentException: when ``port`` is not 1 to 65535.
        """
        if not isinstance(port, int) or not 0 < port < 65536:
            raise InvalidArgumentException(f"{port!r} is not a port: give 1 to 65535.")
        proxy = self._connection.config.get_use_server_proxy()
        return self._run(
            self._connection.protocol.endpoint(self._server, self._id, port, use_server_proxy=proxy)
        )

    def wait_for_port(self, port: int, *, timeout: float | timedelta = _READY) -> SandboxEndpoint:
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
        endpoint = self.get_endpoint(port)
        most = timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout)
        wait_for_port(self._connection, self._at, port, most)
        return endpoint

    def get_metrics(self) -> SandboxMetrics:
        """Return CPU (cores, percent) and memory (MiB) in use now."""
        return self._metrics.get_metrics()

    def renew(self, timeout: timedelta) -> SandboxRenewResponse:
        """Set the end of life to ``timeout`` from now, and return it.

        Raises:
            InvalidArgumentException: when ``timeout`` is not a positive timedelta.
        """
        moment = expiry_after(timeout)
        return self._run(self._connection.protocol.renew(self._server, self._id, moment))

    def pause(self) -> None:
        """Freeze the sandbox; :meth:`resume` lets it go on. Its lifetime goes on meanwhile.

        Raises:
            SandboxApiException: with status 409 when it is not running.
        """
        self._run(self._connection.protocol.pause(self._server, self._id))

    def kill(self) -> None:
        """End the sandbox and everything in it, for good. The handle stays open.

        Raises:
            SandboxApiException: with status 404 when it is already gone.
        """
        self._run(self._connection.protocol.kill(self._server, self._id))

    def close(self) -> None:
        """Close this handle's connections. The sandbox goes on."""
        self._connection.close()

    def destroy(self) -> None:
        """Kill the sandbox, then close this handle."""
        try:
            self.kill()
        finally:
            self.close()

    def is_healthy(self) -> bool:
        """Return whether the sandbox answers."""
        try:
            self._run(self._connection.protocol.ping(self._at))
        except SandboxException:
            return False
        return True

    def check_ready(
        self, timeout: timedelta = _READY, polling_interval: timedelta = _INTERVAL
    ) -> None:
        """Wait until the sandbox answers.

        Raises:
            SandboxReadyTimeoutException: when it does not within ``timeout``.
        """
        patience = Patience(timeout, polling_interval)
        self._run(
            wait_ready(
                self._connection.protocol, self._at, self._id, custom=False, patience=patience
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @classmethod
    def _reach(
        cls,
        connection: ConnectionSync,
        sandbox_id: str,
        patience: Patience,
        health_check: HealthCheck | None,
        *,
        skip: bool,
    ) -> Self:
        """Find the sandbox's daemon and wait for it."""
        endpoint = connection.transport.run(
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
            connection.transport.run(ready, check)
        return sandbox

    @property
    def _server(self) -> Origin:
        return self._connection.server

    def _run(self, operation: Operation[T]) -> T:
        return self._connection.transport.run(operation)


def expiry_after(timeout: timedelta) -> datetime:
    """Return the moment ``timeout`` from now, UTC.

    Raises:
        InvalidArgumentException: when ``timeout`` is not a positive timedelta.
    """
    return datetime.now(timezone.utc) + positive(timeout)
