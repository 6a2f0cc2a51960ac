"""Where the lifecycle server is and how to talk to it, as a person says it.

What is left out is decided by :mod:`opensandbox_jupyter.settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.models.durations import duration, lasting
from opensandbox_jupyter.retry import RetryPolicy
from opensandbox_jupyter.secrecy import unlocked, without_credentials
from opensandbox_jupyter.settings import Settings

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

__all__ = ["ConnectionConfig", "ConnectionConfigSync"]

C = TypeVar("C", bound=type)
T = TypeVar("T")

_USUAL_RETRIES = RetryPolicy()
_SECRET = ("api_key", "headers", "transport")
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("api_key", "domain", "protocol", "user_agent", "profile"), str | None),
    **dict.fromkeys(("debug", "follow_redirects", "endpoint_cache_disabled"), bool),
    **dict.fromkeys(("disable_metrics", "enable_tracing"), bool),
    "use_server_proxy": bool | None,
    "headers": dict[str, str],
    "event_hooks": dict[str, list[Any]],
    "endpoint_cache_size": Annotated[int, msgspec.Meta(ge=0)],
}


def _refusing_unknown(cls: C) -> C:
    """Let a class say which setting was meant when it is given one that it does not have."""
    made = cls.__init__  # type: ignore[misc]
    known = [one.name for one in fields(cls) if one.init]

    @wraps(made)
    def check(self: Any, **given: Any) -> None:
        for name in given.keys() - known:
            meant = get_close_matches(name, known, n=1)
            raise InvalidArgumentException(
                f"{type(self).__name__} has no setting {name!r}.",
                hint=f"Did you mean {meant[0]}?" if meant else f"It has {', '.join(known)}.",
            )
        made(self, **given)

    cls.__init__ = check  # type: ignore[misc]
    return cls


# Not of pydantic: loading that takes longer than all the rest of a short program.
@_refusing_unknown
@dataclass(kw_only=True, repr=False, slots=True)
class _Connection(Generic[T]):
    """What both configurations hold."""

    api_key: str | None = None
    domain: str | None = None
    protocol: str | None = None
    request_timeout: timedelta | None = None
    debug: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    user_agent: str | None = None
    transport: T | None = None
    use_server_proxy: bool | None = None
    profile: str | None = None
    follow_redirects: bool = False
    event_hooks: dict[str, list[Callable[..., Any]]] = field(default_factory=dict)
    retry_policy: RetryPolicy = field(default_factory=lambda: _USUAL_RETRIES)
    endpoint_cache_ttl: timedelta = timedelta(minutes=10)
    endpoint_cache_size: int = 1024
    endpoint_cache_disabled: bool = False
    disable_metrics: bool = False
    enable_tracing: bool = False
    _made: Any = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            try:
                setattr(self, name, msgspec.convert(getattr(self, name), kind, strict=False))
            except msgspec.ValidationError as cause:
                raise self._wrong(name, str(cause).partition(" - at ")[0]) from None
        if self.protocol is not None:
            self.protocol = self.protocol.lower()
            if self.protocol not in ("http", "https"):
                raise self._wrong("protocol", "must be http or https")
        if self.request_timeout is not None:
            self.request_timeout = lasting(self.request_timeout, "request_timeout")
        self.endpoint_cache_ttl = duration(self.endpoint_cache_ttl, "endpoint_cache_ttl")
        if not isinstance(self.retry_policy, RetryPolicy):
            raise self._wrong("retry_policy", "must be a RetryPolicy")

    def _wrong(self, name: str, why: str) -> InvalidArgumentException:
        return InvalidArgumentException(f"{type(self).__name__}: {name}: {why}")

    def __repr__(self) -> str:
        said = self._said()
        if self.domain:
            said["domain"] = without_credentials(self.domain)
        shown = (f"{name}={value!r}" for name, value in said.items() if name not in _SECRET)
        return f"{type(self).__name__}({', '.join(shown)})"

    def _said(self) -> dict[str, Any]:
        """Return what differs from a configuration that says nothing."""
        usual = type(self)()
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        return {name: value for name, value in values.items() if value != getattr(usual, name)}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is secret or belongs to this process; a profile's name goes along."""
        state = {name: value for name, value in self._said().items() if name not in _SECRET}
        state.pop("event_hooks", None)
        if self.domain:
            state["domain"] = unlocked(self.domain)
        if self.retry_policy.on_retry is not None:
            state["retry_policy"] = replace(self.retry_policy, on_retry=None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __copy__(self) -> Self:
        return self.model_copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.model_copy()

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Return a copy in which some settings are others, as in OpenSandbox's own SDK.

        Raises:
            InvalidArgumentException: for a value that cannot be used.
        """
        copy = replace(self, **(update or {}))
        copy._made = self._made
        return copy

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: Any) -> Any:
        """Let a pydantic model have a field of this class."""
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(cls)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the configuration that says what ``settings`` says."""
        said = {one.name: getattr(settings, one.name, None) for one in fields(cls) if one.init}
        return cls(**{name: value for name, value in said.items() if value is not None})

    def settings(self) -> Settings:
        """Return what this means now, with environment and profile.

        Raises:
            InvalidArgumentException: when the environment or the profile cannot be read.
        """
        mine = {one.name for one in fields(self)}
        said = {one.name: getattr(self, one.name) for one in fields(Settings) if one.name in mine}
        if self.retry_policy is _USUAL_RETRIES:
            said["retry_policy"] = None
        if self.endpoint_cache_disabled:
            said["endpoint_cache_ttl"] = timedelta(0)
        owns = self.transport is not None and self.owns_transport
        return Settings.resolve(**said, owns_transport=owns)

    @property
    def owns_transport(self) -> bool:
        """Whether the transport is the SDK's to close: it is, unless you gave one."""
        return self.transport is None or self.transport is self._made

    def new_owned_transport(
        self,
        *,
        max_connections: int | None = 100,
        max_keepalive_connections: int = 20,
        keepalive_expiry: float = 30.0,
    ) -> T:
        """Return a new httpx transport that keeps to ``retry_policy``; who asks closes it."""
        import httpx

        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_keepalive_connections,
            keepalive_expiry=keepalive_expiry,
        )
        return self._transport(limits)

    def _transport(self, limits: httpx.Limits) -> T:
        raise NotImplementedError

    def with_transport_if_missing(
        self,
        *,
        max_connections: int | None = 100,
        max_keepalive_connections: int = 20,
        keepalive_expiry: float = 30.0,
    ) -> Self:
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


class ConnectionConfig(_Connection["httpx.AsyncBaseTransport"]):
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
        enable_tracing: make a span of OpenTelemetry for each call, and for each warm-up of a pool
            and its phases (the extra ``tracing``).

    Raises:
        InvalidArgumentException: for a value that cannot be used.
    """

    __slots__ = ()

    def _transport(self, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
        import httpx

        from opensandbox_jupyter.transport import RetryAsyncTransport

        made = httpx.AsyncHTTPTransport(limits=limits)
        if not self.retry_policy.wraps_transport():
            return made
        return RetryAsyncTransport(made, self.retry_policy, owns_inner=True)

    async def close_transport_if_owned(self) -> None:
        """Close the transport that :meth:`with_transport_if_missing` made; never yours."""
        if self.transport is not None and self.transport is self._made:
            await self.transport.aclose()


class ConnectionConfigSync(_Connection["httpx.BaseTransport"]):
    """How the blocking SDK reaches its server; fields as in :class:`ConnectionConfig`."""

    __slots__ = ()

    def _transport(self, limits: httpx.Limits) -> httpx.BaseTransport:
        import httpx

        from opensandbox_jupyter.transport import RetrySyncTransport

        made = httpx.HTTPTransport(limits=limits)
        if not self.retry_policy.wraps_transport():
            return made
        return RetrySyncTransport(made, self.retry_policy, owns_inner=True)

    def close_transport_if_owned(self) -> None:
        """Close the transport that :meth:`with_transport_if_missing` made; never yours."""
        if self.transport is not None and self.transport is self._made:
            self.transport.close()
