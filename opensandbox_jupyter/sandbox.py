"""Sandboxes: made, found and resumed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from opensandbox_jupyter.connection import Connection, checked_id
from opensandbox_jupyter.constants import DEFAULT_EXECD_PORT
from opensandbox_jupyter.handle import SandboxHandle
from opensandbox_jupyter.models.durations import Duration, lasting
from opensandbox_jupyter.models.spec import SandboxSpec
from opensandbox_jupyter.network import TEMPLATE
from opensandbox_jupyter.wire.readiness import Patience, wait_ready

if TYPE_CHECKING:
    from typing_extensions import Self

    from opensandbox_jupyter.config import ConnectionConfig
    from opensandbox_jupyter.models.sandboxes import (
        NetworkPolicy,
        PlatformSpec,
        SandboxImageSpec,
        SandboxLifecycle,
        Volume,
    )
    from opensandbox_jupyter.models.vault import CredentialProxyConfig

__all__ = ["Sandbox"]

_LIFETIME = timedelta(minutes=10)
_READY = timedelta(seconds=30)
_INTERVAL = timedelta(milliseconds=200)

HealthCheck = Callable[["Sandbox"], Awaitable[bool] | bool]


class Sandbox(SandboxHandle):
    """An isolated machine for running untrusted code.

    Made by :meth:`create`, :meth:`connect` or :meth:`resume`::

        async with await Sandbox.create("python:3.11") as sandbox:
            execution = await sandbox.commands.run("echo hello")
            print(execution.stdout)
            await sandbox.kill()

    Leaving the ``with`` block closes the connections; the sandbox itself goes on until it is
    killed or expires. The lifecycle is specified by the OpenSandbox lifecycle API.
    """

    @classmethod
    async def create(
        cls,
        image: SandboxImageSpec | str | None = None,
        *,
        snapshot_id: str | None = None,
        timeout: Duration | None = _LIFETIME,
        ready_timeout: Duration = _READY,
        env: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        resource: Mapping[str, str] | None = None,
        resource_requests: Mapping[str, str] | None = None,
        platform: PlatformSpec | None = None,
        network_policy: NetworkPolicy | None = None,
        extensions: Mapping[str, str] | None = None,
        secure_access: bool = False,
        entrypoint: Sequence[str] | None = None,
        volumes: Sequence[Volume] | None = None,
        credential_proxy: CredentialProxyConfig | None = None,
        lifecycle: SandboxLifecycle | None = None,
        connection_config: ConnectionConfig | None = None,
        health_check: HealthCheck | None = None,
        health_check_polling_interval: Duration = _INTERVAL,
        skip_health_check: bool = False,
    ) -> Self:
        """Create a sandbox and wait until it is ready.

        A sandbox that does not become ready, or whose creation is interrupted, is killed.

        Args:
            image: the image, by name or with credentials; or give ``snapshot_id``.
            snapshot_id: the snapshot to start from.
            timeout: the sandbox's lifetime, seconds or a timedelta; ``None`` for one that only a
                kill ends.
            ready_timeout: how long to wait for it, seconds or a timedelta.
            env: environment variables of all its commands.
            metadata: labels, to find it by.
            resource: limits such as ``{"cpu": "1", "memory": "2Gi"}`` (the default).
            resource_requests: what Kubernetes shall set aside for it.
            platform: operating system and processor.
            network_policy: what it may reach.
            extensions: passed to the server as they are.
            secure_access: ask for a token on its endpoints (Kubernetes gateways).
            entrypoint: its first program, as a list of words; by default one that just waits.
            volumes: what to mount.
            credential_proxy: let its proxy put credentials into requests.
            lifecycle: what the server runs before it starts, and while it lives.
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
            timeout=None if timeout is None else lasting(timeout),
            env=env,
            metadata=metadata,
            resource=resource,
            resource_requests=resource_requests,
            platform=platform,
            network_policy=network_policy,
            extensions=extensions,
            secure_access=secure_access,
            entrypoint=entrypoint,
            volumes=volumes,
            credential_proxy=credential_proxy,
            lifecycle=lifecycle,
        )
        patience = Patience(ready_timeout, health_check_polling_interval)
        return await cls._launch(
            spec, connection_config, patience, health_check, skip=skip_health_check
        )

    @classmethod
    async def create_from_template(
        cls,
        template_id: str,
        *,
        timeout: Duration,
        ready_timeout: Duration = _READY,
        metadata: Mapping[str, str] | None = None,
        network_policy: NetworkPolicy | None = None,
        extensions: Mapping[str, str] | None = None,
        connection_config: ConnectionConfig | None = None,
        health_check: HealthCheck | None = None,
        health_check_polling_interval: Duration = _INTERVAL,
        skip_health_check: bool = False,
    ) -> Self:
        """Create a sandbox from a template, and wait until it is ready.

        Image, program, environment and limits are the template's; the rest is as in
        :meth:`create`.

        Raises:
            SandboxApiException: 404 for an unknown template, 409 for one that is not built.
            SandboxReadyTimeoutException: when it is not ready in time.
        """
        spec = SandboxSpec(
            template_id=template_id,
            timeout=lasting(timeout),
            metadata=metadata,
            network_policy=network_policy,
            extensions=extensions,
        )
        patience = Patience(ready_timeout, health_check_polling_interval)
        return await cls._launch(
            spec, connection_config, patience, health_check, skip=skip_health_check
        )

    @classmethod
    async def connect(
        cls,
        sandbox_id: str,
        connection_config: ConnectionConfig | None = None,
        health_check: HealthCheck | None = None,
        connect_timeout: Duration = _READY,
        health_check_polling_interval: Duration = _INTERVAL,
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
        resume_timeout: Duration = _READY,
        health_check_polling_interval: Duration = _INTERVAL,
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

    @classmethod
    async def _launch(
        cls,
        spec: SandboxSpec,
        connection_config: ConnectionConfig | None,
        patience: Patience,
        health_check: HealthCheck | None,
        *,
        skip: bool,
    ) -> Self:
        """Create what ``spec`` says, and wait for it; what is not ready is killed."""
        connection = await Connection.open(connection_config)
        try:
            kill = partial(connection.protocol.kill, connection.server)
            sandbox_id = await connection.transport.secure(
                connection.protocol.create(connection.server, spec), kill
            )
            try:
                return await cls._reach(
                    connection,
                    sandbox_id,
                    patience,
                    health_check,
                    skip=skip,
                    templated=spec.template_id is not None,
                )
            except BaseException:
                await connection.transport.insist(kill(sandbox_id))
                raise
        except BaseException:
            await connection.close()
            raise

    @classmethod
    async def _reach(
        cls,
        connection: Connection,
        sandbox_id: str,
        patience: Patience,
        health_check: HealthCheck | None,
        *,
        skip: bool,
        templated: bool = False,
    ) -> Self:
        """Find the sandbox's daemon and wait for it."""
        endpoint = await connection.transport.run(
            connection.endpoints.find(sandbox_id, DEFAULT_EXECD_PORT, patience)
        )
        if templated:
            endpoint = replace(endpoint, origin=TEMPLATE)
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
