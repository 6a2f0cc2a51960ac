"""A lifecycle server, reached: its address and key, its protocol, and the transport to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensandbox_jupyter.constants import API_KEY_HEADER
from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.secrecy import Unpicklable
from opensandbox_jupyter.wire.base import Origin
from opensandbox_jupyter.wire.endpoints import Endpoints

if TYPE_CHECKING:
    from opensandbox_jupyter.config import ConnectionConfig
    from opensandbox_jupyter.models.sandboxes import SandboxEndpoint
    from opensandbox_jupyter.settings import Settings, Target
    from opensandbox_jupyter.transport.aio import AsyncTransport
    from opensandbox_jupyter.wire.protocol import Protocol

__all__ = ["Connection"]


class Connection(Unpicklable):
    """What handles share: where to send, how to say it, and who carries it."""

    def __init__(
        self,
        settings: Settings,
        target: Target,
        transport: AsyncTransport,
        config: ConnectionConfig | None = None,
    ) -> None:
        from opensandbox_jupyter.wire.opensandbox import OpenSandbox

        self.settings = settings
        self.transport = transport
        self.protocol: Protocol = OpenSandbox()
        headers = {API_KEY_HEADER: target.api_key} if target.api_key else {}
        self.server = Origin(target.base_url, headers)
        self.endpoints = Endpoints(
            self.protocol,
            self.server,
            ttl=settings.endpoint_cache_ttl.total_seconds(),
            size=settings.endpoint_cache_size,
            use_server_proxy=settings.use_server_proxy,
        )
        self._config = config

    @classmethod
    async def open(cls, config: ConnectionConfig | None = None) -> Connection:
        """Return a connection to the configured server, or to the embedded one.

        Raises:
            LocalServerException: when the embedded server is meant and cannot be started.
        """
        from opensandbox_jupyter.settings import Settings
        from opensandbox_jupyter.transport.aio import AsyncTransport

        settings = Settings.resolve() if config is None else config.settings()
        target = settings.target
        transport = AsyncTransport(settings, embedded=target is None)
        if target is None:
            target = await transport.offload(_embedded)
        return cls(settings, target, transport, config)

    @property
    def config(self) -> ConnectionConfig:
        """The configuration in use."""
        if self._config is None:
            from opensandbox_jupyter.config import ConnectionConfig

            self._config = ConnectionConfig.of(self.settings)
        return self._config

    def origin_of(self, endpoint: SandboxEndpoint) -> Origin:
        """Return where requests to a sandbox go. The key goes along only through the server."""
        headers = dict(endpoint.headers)
        if self.settings.use_server_proxy:
            headers = {**self.server.headers, **headers}
        base_url = f"{self.settings.protocol}://{endpoint.endpoint.rstrip('/')}"
        return Origin(base_url, headers, is_sandbox=True)

    async def close(self) -> None:
        """Close the connections. The sandboxes go on."""
        await self.transport.close()


def checked_id(value: str, what: str = "sandbox id") -> str:
    """Return ``value``.

    Raises:
        InvalidArgumentException: when it is blank, which would address another resource.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentException(f"The {what} is empty.")
    return value


def _embedded() -> Target:
    """Return the embedded server of this user, started if need be."""
    from opensandbox_jupyter.local import ensure_server
    from opensandbox_jupyter.settings import Target

    server = ensure_server()
    return Target(f"{server.url.rstrip('/')}/v1", server.api_key)
