"""How one connection reaches its server, decided: light enough for every program to load.

Each setting is taken from the first place that names it: an argument, the environment, the profile
file ``~/.opensandbox/config.toml`` (table ``[connection]``, shared with OpenSandbox's own command
line). When none of them names a domain, the embedded server of this user is meant.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from opensandbox_jupyter.exceptions import InvalidArgumentException

__all__ = ["Settings", "Target", "profile_path"]

_DEFAULT_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Target:
    """A lifecycle server: its base URL, with ``/v1`` and no trailing slash, and its key."""

    base_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``ConnectionConfig`` asks for, with the defaults of this moment filled in.

    Attributes:
        domain: ``host[:port]`` of the server, perhaps with a scheme; ``None``: the embedded one.
        api_key: the key, or an empty text.
        protocol: ``http`` or ``https``, of the server and of sandboxes' own endpoints.
        request_timeout: how long to wait for an answer; streams of output are not bounded by it.
        use_server_proxy: whether sandboxes are reached through the lifecycle server.
        transport: an ``httpx`` transport of the user's own, async or blocking.
    """

    domain: str | None
    api_key: str = field(repr=False)
    protocol: str
    request_timeout: timedelta
    use_server_proxy: bool
    debug: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    user_agent: str | None = None
    transport: Any = field(default=None, repr=False)

    @classmethod
    def resolve(
        cls,
        *,
        domain: str | None = None,
        api_key: str | None = None,
        protocol: str | None = None,
        request_timeout: timedelta | None = None,
        use_server_proxy: bool | None = None,
        **others: Any,
    ) -> Settings:
        """Return the settings; what is ``None`` comes from the environment or the profile.

        Raises:
            InvalidArgumentException: when the environment or the profile cannot be read.
        """
        profile = _profile()

        def first(name: str, given: object) -> object:
            if given is not None:
                return given
            return os.environ.get(f"OPEN_SANDBOX_{name.upper()}") or profile.get(name)

        where = str(first("domain", domain) or "").strip().rstrip("/") or None
        scheme, separator, _ = (where or "").partition("://")
        return cls(
            domain=where,
            api_key=str(first("api_key", api_key) or ""),
            protocol=(scheme if separator else str(first("protocol", protocol) or "http")).lower(),
            request_timeout=_seconds(first("request_timeout", request_timeout)),
            use_server_proxy=_truth(first("use_server_proxy", use_server_proxy)),
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


def profile_path() -> Path:
    """Return the place of the profile file."""
    return Path.home() / ".opensandbox" / "config.toml"


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


def _profile() -> dict[str, Any]:
    """Return the profile's connection table; an absent file is an empty one."""
    path = profile_path()
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (OSError, UnicodeDecodeError) as cause:
        raise _unreadable(path, cause) from cause
    return _table(path, text)


def _table(path: Path, text: str) -> dict[str, Any]:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table = tomllib.loads(text).get("connection", {})
    except tomllib.TOMLDecodeError as cause:
        raise _unreadable(path, cause) from cause
    return table if isinstance(table, dict) else {}


def _unreadable(path: Path, cause: Exception) -> InvalidArgumentException:
    return InvalidArgumentException(
        f"The profile {path} cannot be read: {cause}",
        hint="Mend the file or move it away.",
        cause=cause,
    )
