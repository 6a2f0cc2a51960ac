"""How one connection reaches its server, decided: light enough for every program to load.

Each setting is taken from the first place that names it: an argument, the environment, the named
profile in use, the table ``[connection]`` (both: :mod:`opensandbox_jupyter.profiles`). When none
of them names a domain, the embedded server of this user is meant. A key of the profile file goes
only to the server that it is written beside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.profiles import choose, profile_path
from opensandbox_jupyter.secrecy import Unpicklable, without_credentials

if TYPE_CHECKING:
    from opensandbox_jupyter.retry import RetryPolicy

__all__ = ["Settings", "Target"]

_DEFAULT_TIMEOUT = timedelta(seconds=30)
_NAMES = ("api_key", "domain", "protocol", "request_timeout", "use_server_proxy")


@dataclass(frozen=True, slots=True, repr=False)
class Target(Unpicklable):
    """A lifecycle server: its base URL, with ``/v1`` and no trailing slash, and its key."""

    base_url: str
    api_key: str

    def __repr__(self) -> str:
        return f"Target({without_credentials(self.base_url)!r})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings(Unpicklable):
    """What ``ConnectionConfig`` asks for, with the defaults of this moment filled in.

    Attributes:
        domain: ``host[:port]`` of the server, perhaps with a scheme; ``None``: the embedded one.
        api_key: the key, or an empty text.
        protocol: ``http`` or ``https``, of the server and of sandboxes' own endpoints.
        request_timeout: how long to wait for an answer; streams of output are not bounded by it.
        use_server_proxy: whether sandboxes are reached through the lifecycle server.
        transport: an ``httpx`` transport of the user's own, async or blocking.
        owns_transport: whether it is closed with the connection.
        retry_policy: when a request is sent again; ``None`` when nobody said it.
        endpoint_cache_ttl: how long an endpoint is believed; 0 to look it up each time.
        profile: the name of the profile in use.
    """

    domain: str | None
    api_key: str
    protocol: str
    request_timeout: timedelta
    use_server_proxy: bool
    debug: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    user_agent: str | None = None
    transport: Any = None
    owns_transport: bool = False
    retry_policy: RetryPolicy | None = None
    follow_redirects: bool = False
    event_hooks: Mapping[str, Sequence[Callable[..., Any]]] = field(default_factory=dict)
    endpoint_cache_ttl: timedelta = timedelta(minutes=10)
    endpoint_cache_size: int = 1024
    enable_tracing: bool = False
    profile: str | None = None

    def __repr__(self) -> str:
        return f"Settings({without_credentials(self.base_url or '')!r}, profile={self.profile!r})"

    @classmethod
    def resolve(
        cls,
        *,
        domain: str | None = None,
        api_key: str | None = None,
        protocol: str | None = None,
        request_timeout: timedelta | None = None,
        use_server_proxy: bool | None = None,
        profile: str | None = None,
        **others: Any,
    ) -> Settings:
        """Return the settings; what is ``None`` comes from the environment or the profile.

        Raises:
            InvalidArgumentException: when the environment or the profile cannot be read.
        """
        chosen = choose(profile)
        named = _environment()

        def first(name: str, given: object, server: str | None = None) -> object:
            given = named.get(name) if given is None else given
            return chosen.setting(name, server) if given is None else given

        where = str(first("domain", domain) or "").strip().rstrip("/") or None
        scheme, separator, _ = (where or "").partition("://")
        key = named.get("api_key") if api_key is None else api_key
        return cls(
            domain=where,
            api_key=str((chosen.api_key(where) if key is None else key) or ""),
            protocol=(
                scheme if separator else str(first("protocol", protocol, where) or "http")
            ).lower(),
            request_timeout=_seconds(first("request_timeout", request_timeout)),
            use_server_proxy=_truth(first("use_server_proxy", use_server_proxy, where)),
            profile=chosen.name,
            **others,
        )

    @property
    def base_url(self) -> str | None:
        """The address of the lifecycle API; ``None`` means the embedded server."""
        if self.domain is None:
            return None
        return f"{self.protocol}://{self.domain.split('://', 1)[-1]}/v1"

    @property
    def target(self) -> Target | None:
        """The configured server; ``None`` means the embedded server."""
        return None if self.base_url is None else Target(self.base_url, self.api_key)


def _environment() -> dict[str, str]:
    """Return what the environment names; an empty variable names nothing."""
    found = {name: os.environ.get(f"OPEN_SANDBOX_{name.upper()}") for name in _NAMES}
    return {name: value for name, value in found.items() if value}


def _seconds(value: object) -> timedelta:
    if value is None or isinstance(value, timedelta):
        return value or _DEFAULT_TIMEOUT
    try:
        seconds = timedelta(seconds=float(str(value)))
        if seconds > timedelta(0):
            return seconds
    except (ValueError, OverflowError):
        pass
    raise InvalidArgumentException(
        "request_timeout is not a number of seconds",
        hint=f"Look at OPEN_SANDBOX_REQUEST_TIMEOUT and {profile_path()}.",
    )


def _truth(value: object) -> bool:
    return value if isinstance(value, bool) else str(value).lower() in ("1", "true", "yes")
