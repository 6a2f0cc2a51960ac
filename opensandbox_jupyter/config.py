"""Where the lifecycle server is and how to talk to it.

Each setting is taken from the first place that names it: an argument, the environment, the profile
file ``~/.opensandbox/config.toml`` (table ``[connection]``, shared with OpenSandbox's own command
line). When none of them names a domain, the embedded server of this user is meant.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, field_validator

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.models._base import Request

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import httpx

__all__ = ["ConnectionConfig", "ConnectionConfigSync", "Target", "profile_path"]

_DEFAULT_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Target:
    """A lifecycle server: its base URL, with ``/v1`` and no trailing slash, and its key."""

    base_url: str
    api_key: str = field(repr=False)


class _Settings(Request):
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

    def get_api_key(self) -> str:
        """Return the key, or an empty text when none is configured."""
        return str(self._setting("api_key", "OPEN_SANDBOX_API_KEY") or "")

    def get_domain(self) -> str | None:
        """Return ``host[:port]`` of the server; ``None`` means the embedded server."""
        domain = self._setting("domain", "OPEN_SANDBOX_DOMAIN")
        return str(domain).strip().rstrip("/") or None if domain else None

    def get_protocol(self) -> str:
        """Return ``http`` or ``https``; it is used for sandboxes' own endpoints, too."""
        domain = self.get_domain() or ""
        if "://" in domain:
            return domain.split("://", 1)[0].lower()
        return str(self._setting("protocol", "OPEN_SANDBOX_PROTOCOL") or "http").lower()

    def get_request_timeout(self) -> timedelta:
        """Return how long to wait for an answer; streams of output are not bounded by it."""
        value = self._setting("request_timeout", "OPEN_SANDBOX_REQUEST_TIMEOUT")
        if value is None or isinstance(value, timedelta):
            return value or _DEFAULT_TIMEOUT
        try:
            return timedelta(seconds=float(str(value)))
        except ValueError:
            raise InvalidArgumentException(
                "request_timeout is not a number of seconds",
                hint=f"Look at OPEN_SANDBOX_REQUEST_TIMEOUT and {profile_path()}.",
            ) from None

    def get_use_server_proxy(self) -> bool:
        """Return whether sandboxes are reached through the lifecycle server."""
        value = self._setting("use_server_proxy", "OPEN_SANDBOX_USE_SERVER_PROXY")
        return value if isinstance(value, bool) else str(value).lower() in ("1", "true", "yes")

    def get_base_url(self) -> str | None:
        """Return the address of the lifecycle API; ``None`` means the embedded server."""
        domain = self.get_domain()
        if domain is None:
            return None
        return f"{self.get_protocol()}://{domain.split('://', 1)[-1]}/v1"

    def target(self) -> Target | None:
        """Return the configured server; ``None`` means the embedded server."""
        base_url = self.get_base_url()
        return (base_url and Target(base_url, self.get_api_key())) or None

    def _setting(self, name: str, variable: str) -> object:
        value = getattr(self, name)
        if value is None:
            value = os.environ.get(variable) or _profile().get(name)
        return value


class ConnectionConfig(_Settings):
    """How the async SDK reaches its server. All fields are optional.

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

    Raises:
        InvalidArgumentException: for a value that cannot be used.
    """

    if TYPE_CHECKING:
        transport: httpx.AsyncBaseTransport | None = None
    else:
        transport: Any = Field(default=None, repr=False)


class ConnectionConfigSync(_Settings):
    """How the blocking SDK reaches its server; fields as in :class:`ConnectionConfig`."""

    if TYPE_CHECKING:
        transport: httpx.BaseTransport | None = None
    else:
        transport: Any = Field(default=None, repr=False)


def profile_path() -> Path:
    """Return the place of the profile file."""
    return Path.home() / ".opensandbox" / "config.toml"


def _profile() -> dict[str, Any]:
    """Return the profile's connection table; an absent file is an empty one."""
    path = profile_path()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise InvalidArgumentException(
            f"The profile {path} cannot be read: {cause}",
            hint="Mend the file or move it away.",
            cause=cause,
        ) from cause
    table = data.get("connection", {})
    return table if isinstance(table, dict) else {}
