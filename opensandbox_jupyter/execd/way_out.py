"""The way out of the sandbox: a port inside that leads to the server's proxy, and who is told."""

from __future__ import annotations

import os

from opensandbox_jupyter.execd.settings import Settings
from opensandbox_jupyter.hosting.relay import Relay

__all__ = ["PROXY_PORT", "base_env", "open_way_out"]

PROXY_PORT = 3128
_MOST = 300
"""A few more than the proxy takes, which says so to those that are too many."""
_PROXY = f"http://127.0.0.1:{PROXY_PORT}"


async def open_way_out(settings: Settings) -> Relay | None:
    """Listen on the port of the proxy, and lead what comes to the server.

    The socket is reached by descriptor: no path inside the sandbox leads to it.
    """
    if settings.way_out is None:
        return None
    relay = Relay(f"/proc/self/fd/{settings.way_out.door}", port=PROXY_PORT, most=_MOST)
    await relay.start()
    return relay


def base_env(settings: Settings) -> dict[str, str]:
    """Return the environment of commands, with the proxy in it while it leads anywhere."""
    if settings.way_out is None or os.pread(settings.way_out.flag, 1, 0) != b"1":
        return dict(settings.env)
    here = f"localhost,127.0.0.1,::1,{os.uname().nodename}"
    proxied = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _PROXY)
    return {**proxied, "NO_PROXY": here, "no_proxy": here, **settings.env}
