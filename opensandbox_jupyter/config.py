"""Where the lifecycle server is and how to talk to it, as a person says it.

What is left out is decided by :mod:`opensandbox_jupyter.settings`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, field_validator

from opensandbox_jupyter.models._base import Request
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
    use_server_proxy: bool | None = None
    profile: str | None = None

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
        return {**state, "__dict__": {**state["__dict__"], **left}}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the configuration that says what ``settings`` says."""
        return cls(**{name: getattr(settings, name) for name in cls.model_fields})

    def settings(self) -> Settings:
        """Return what this means now, with environment and profile.

        Raises:
            InvalidArgumentException: when the environment or the profile cannot be read.
        """
        return Settings.resolve(**{name: getattr(self, name) for name in type(self).model_fields})

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

    A pickled configuration has lost ``api_key``, ``headers``, ``transport`` and the credentials of
    its address: where it is read, the key comes from the environment or the profile there. Handles
    on sandboxes are not pickled at all; pass their ids.

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

    Raises:
        InvalidArgumentException: for a value that cannot be used.
    """

    if TYPE_CHECKING:
        transport: httpx.AsyncBaseTransport | None = None
    else:
        transport: Any = Field(default=None, repr=False)


class ConnectionConfigSync(_Connection):
    """How the blocking SDK reaches its server; fields as in :class:`ConnectionConfig`."""

    if TYPE_CHECKING:
        transport: httpx.BaseTransport | None = None
    else:
        transport: Any = Field(default=None, repr=False)
