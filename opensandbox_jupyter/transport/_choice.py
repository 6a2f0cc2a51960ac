"""Which client carries the requests, and what both colours of driver hold in common."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from opensandbox_jupyter import __version__

if TYPE_CHECKING:
    from opensandbox_jupyter.settings import Settings

log = logging.getLogger("opensandbox_jupyter")

MAX_ERROR_BODY = 64 * 1024
"""How much of a refused stream's body is read, in bytes."""

TAIL_BOUND = 0.02
"""How long to wait for the end of a stream after its last event, in seconds."""

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def needs_httpx(settings: Settings, *, embedded: bool) -> bool:
    """Return whether a transport was given, or a proxy named in the environment may be needed.

    The embedded server is never asked through a proxy.
    """
    return settings.transport is not None or (not embedded and _proxy_is_named())


def common_headers(settings: Settings) -> dict[str, str]:
    """Return the headers of every request; switch the log on if it is wanted."""
    if settings.debug:
        log.setLevel(logging.DEBUG)
    agent = settings.user_agent or f"opensandbox-jupyter/{__version__}"
    return {"User-Agent": agent, **settings.headers}


def _proxy_is_named() -> bool:
    return any(name.lower() in _PROXIES and value for name, value in os.environ.items())
