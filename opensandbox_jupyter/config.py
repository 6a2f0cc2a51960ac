"""Where the lifecycle server is and how to talk to it, as a person says it.

What is left out is decided by :mod:`opensandbox_jupyter.settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from opensandbox_jupyter.models._base import Request
from opensandbox_jupyter.retry import RetryPolicy
from opensandbox_jupyter.secrecy import unlocked, without_credentials
from opensandbox_jupyter.settings import Settings

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

__all__ = ["ConnectionConfig", "ConnectionConfigSync"]


class _Connection(Request):
    """What both configurations hold."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    api_key: str | None = Field(default=None, repr=False)
    domain: str | None = None
    protocol: str | None = None
    request_timeout: timedelta | None = None
    debug: bool = False
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    user_agent: str | None = None
    transport: Any = Field(default=None, repr=False)
    use_server_proxy: bool | None = None
    profile: str | None = None
    follow_redirects: bool = False
    event_hooks: dict[str, list[Callable[..., Any]]] = Field(default_factory=dict)
    retry_policy: RetryPolicy = Field(default_factory=RetryPolicy)
    endpoint_cache_ttl: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(minutes=10)
    endpoint_cache_size: Annotated[int, Field(ge=0)] = 1024
    endpoint_cache_disabled: bool = False
    disable_metrics: bool = False
    enable_tracing: bool = False

    _made: Any = PrivateAttr(default=None)

    @field_validator("protocol")
    @classmethod
    def _known_protocol(cls, value: str | None) -> str | None:
        if value is not None and value.lower() not in ("http", "https"):
            raise ValueError("must be http or https")
        return value and value.lower()

    @field_validator("request_timeout")
    @classmethod
    def _positive(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value <= timedelta(0):
            raise ValueError("must be positive")
        return value

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, without_credentials(value) if name == "domain" and value else value

    def __getstate__(self) -> dict[Any, Any]:
        """Leave out what is secret or belongs to this process; a profile's name goes along."""
        state = super().__getstate__()
        domain = self.domain and unlocked(self.domain)
        left: dict[str, Any]
        left = {"api_key": None, "headers": {}, "transport": None, "domain": domain}
        left |= {"event_hooks": {}, "retry_policy": replace(self.retry_policy, on_retry=None)}
        return {**state, "__dict__": {**state["__dict__"], **left}, "__pydantic_private__": None}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the configuration that says what ``settings`` says."""
        said = {name: getattr(settings, name, None) for name in cls.model_fields}
        return cls(**{name: value for name, value in said.items() if value is not None})

    def settings(self) -> Settings:
        """Return what this means now, with environment and profile.

        Raises:
            InvalidArgumentException: when the environment or the profile cannot be read.
        """
        decided = {one.name for one in fields(Settings)}
        said = {name: getattr(self, name) for name in decided.intersection(type(self).model_fields)}
        if "retry_policy" not in self.model_fields_set:
            said["retry_policy"] = None
        if self.endpoint_cache_disabled:
            said["endpoint_cache_ttl"] = timedelta(0)
        owns = said["transport"] is not None and self.owns_transport
        return Settings.resolve(**said, owns_transport=owns)

    @property
    def owns_transport(self) -> bool:
        """Whether the transport is the SDK's to close: it is, unless you gave one."""
        return self.transport is None or self.transport is self._made

    def _with(self, made: Any) -> Self:
        config = self.model_copy(update={"transport": made})
        config._made = made
        return config

    def get_api_key(self) -> str:
        """Return the key, or an empty text when none is configured."""
        return self.settings().api_key

    def get_domain(self) -> str | None:
        """Return ``host[:port]`` of the server; ``None`` means the embedded server."""
        return self.settings().domain

    def get_protocol(self) -> str:
        """Return ``http`` or ``https``; it is used for sandboxes' own endpoints, too."""
        return self.settings().protocol

    def get_request_timeout(self) -> timedelta:
        """Return how long to wait for an answer; streams of output are not bounded by it."""
        return self.settings().request_timeout

    def get_use_server_proxy(self) -> bool:
        """Return whether sandboxes are reached through the lifecycle server."""
        return self.settings().use_server_proxy

    def get_base_url(self) -> str | None:
        """Return the address of the lifecycle API; ``None`` means the embedded server."""
        return self.settings().base_url


class ConnectionConfig(_Connection):
    """How the async SDK reaches its server. All fields are optional.

    A pickled configuration has lost ``api_key``, ``headers``, ``transport``, hooks and the
    credentials of its address: where it is read, the key comes from the environment or the profile
    there. Handles on sandboxes are not pickled at all; pass their ids.

    Args:
        api_key: the key; else ``OPEN_SANDBOX_API_KEY``, else the profile.
        domain: ``host[:port]``, with or without ``http(s)://``; else ``OPEN_SANDBOX_DOMAIN``, else
            the profile, else the embedded server of this user, started on demand.
        protocol: ``http`` (default) or ``https``.
        request_timeout: how long to wait for an answer (30 s).
        debug: log each request, without secrets, to the logger ``opensandbox_jupyter``.
        headers: sent with every request, to sandboxes too.
        user_agent: replaces this package's own.
        transport: an ``httpx`` transport of your own (proxy, TLS, tests); never closed by the SDK.
        use_server_proxy: reach sandboxes through the lifecycle server.
        profile: the name of a profile; else ``OPENSANDBOX_PROFILE``, else the one in use.
        follow_redirects: go where a server points to. Keys, tokens and ``headers`` do not go along
            to another origin.
        event_hooks: hooks of an ``httpx`` client, by ``request`` and ``response``; then httpx
            carries the requests, which is slower.
        retry_policy: when a request is sent again. With a transport of your own only if you give
            one, and the transport is not itself one that sends again.
        endpoint_cache_ttl: how long an endpoint that was looked up is believed.
        endpoint_cache_size: how many are kept; 0 means 1024.
        endpoint_cache_disabled: look them up each time.
        disable_metrics: taken for programs that set it; this SDK never reports anything to anybody.
        enable_tracing: make a span of OpenTelemetry for each call (the extra ``tracing``).

    Raises:
        InvalidArgumentException: for a value that cannot be used.
    """

    if TYPE_CHECKING:
        transport: httpx.AsyncBaseTransport | None = None

    def new_owned_transport(
        self,
        *,
        max_connections: int | None = 100,
        max_keepalive_connections: int = 20,
        keepalive_expiry: float = 30.0,
    ) -> httpx.AsyncBaseTransport:
        """Return a new httpx transport that keeps to ``retry_policy``; who asks closes it."""
        import httpx

        from opensandbox_jupyter.transport import RetryAsyncTransport

        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_keepalive_connections,
            keepalive_expiry=keepalive_expiry,
        )
        made = httpx.AsyncHTTPTransport(limits=limits)
        if not self.retry_policy.wraps_transport():
            return made
        return RetryAsyncTransport(made, self.retry_policy, owns_inner=True)

    def with_transport_if_missing(
        self,
        *,
        max_connections: int | None = 100,
        max_keepalive_connections: int = 20,
        keepalive_expiry: float = 30.0,
    ) -> ConnectionConfig:
        """Return this, or a copy with a transport of its own, which its sandbox closes.

        Only for programs that need an httpx transport: without one the SDK is faster.
        """
        if self.transport is not None:
            return self
        made = self.new_owned_transport(
            max_connections=max_connections,
            max_keepalive_connections=max_keepalive_connections,
            keepalive_expiry=keepalive_expiry,
        )
        return self._with(made)

    async def close_transport_if_owned(self) -> None:
        """Close the transport that :meth:`with_transport_if_missing` made; never yours."""
        if self._made is not None and self.transport is self._made:
            await self.transport.aclose()


class ConnectionConfigSync(_Connection):
    """How the blocking SDK reaches its server; fields as in :class:`ConnectionConfig`."""

    if TYPE_CHECKING:
        transport: httpx.BaseTransport | None = None

    def new_owned_transport(
        self,
        *,
        max_connections: int | None = 100,
        max_keepalive_connections: int = 20,
        keepalive_expiry: float = 30.0,
    ) -> httpx.BaseTransport:
        """Return a new httpx transport that keeps to ``retry_policy``; who asks closes it."""
        import httpx

        from opensandbox_jupyter.transport import RetrySyncTransport

        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_keepalive_connections,
            keepalive_expiry=keepalive_expiry,
        )
        made = httpx.HTTPTransport(limits=limits)
        if not self.retry_policy.wraps_transport():
            return made
        return RetrySyncTransport(made, self.retry_policy, owns_inner=True)

    def with_transport_if_missing(
        self,
        *,
        max_connections: int | None = 100,
        max_keepalive_connections: int = 20,
        keepalive_expiry: float = 30.0,
    ) -> ConnectionConfigSync:
        """Return this, or a copy with a transport of its own, which its sandbox closes.

        Only for programs that need an httpx transport: without one the SDK is faster.
        """
        if self.transport is not None:
            return self
        made = self.new_owned_transport(
            max_connections=max_connections,
            max_keepalive_connections=max_keepalive_connections,
            keepalive_expiry=keepalive_expiry,
        )
        return self._with(made)

    def close_transport_if_owned(self) -> None:
        """Close the transport that :meth:`with_transport_if_missing` made; never yours."""
        if self._made is not None and self.transport is self._made:
            self.transport.close()
