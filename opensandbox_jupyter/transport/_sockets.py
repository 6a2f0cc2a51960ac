"""What both colours of WebSocket share: where to connect, and what a refusal means."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from websockets.exceptions import InvalidProxy, InvalidStatus

from opensandbox_jupyter.exceptions import SandboxException
from opensandbox_jupyter.transport._choice import censored, unusable_proxy
from opensandbox_jupyter.transport.failures import (
    BadAddress,
    Broken,
    Failure,
    Unreachable,
    translated,
)
from opensandbox_jupyter.transport.pool import tls_context
from opensandbox_jupyter.transport.request import bare
from opensandbox_jupyter.wire.base import Call, Reply
from opensandbox_jupyter.wire.errors import api_error

if TYPE_CHECKING:
    from websockets.http11 import Response

__all__ = ["address", "options", "refused", "without_redirects"]

_log = logging.getLogger("opensandbox_jupyter.websocket")
_log.setLevel(logging.INFO)  # below that, it would show the headers, and the keys among them

MAX_FRAME = 2 * 1024 * 1024
"""The longest message that is taken, in bytes."""

CLOSE_BOUND = 1.0
"""Seconds to wait for the other side's goodbye; some daemons say none."""


def address(call: Call) -> str:
    """Return the address of a WebSocket."""
    base, _ = bare(call.origin.base_url)
    if not base.startswith(("http://", "https://")):
        raise translated(call, BadAddress(ValueError("it is not http://host or https://host")))
    return f"ws{base.removeprefix('http')}{call.path}?{urlencode(call.query)}"


def options(
    call: Call, headers: Mapping[str, str], timeout: float, *, embedded: bool
) -> dict[str, Any]:
    """Return the arguments of ``connect``: bounded, uncompressed, through the user's proxy."""
    _, authorization = bare(call.origin.base_url)
    sent = {**authorization, **headers, **call.origin.headers, **call.headers}
    agent = next((sent.pop(name) for name in list(sent) if name.lower() == "user-agent"), None)
    return {
        "additional_headers": sent,
        "user_agent_header": agent,
        "compression": None,
        "logger": _log,
        "max_size": MAX_FRAME,
        "open_timeout": timeout,
        "close_timeout": CLOSE_BOUND,
        "proxy": None if embedded else True,
        "ssl": tls_context() if call.origin.base_url.startswith("https:") else None,
    }


def without_redirects(opening: Any) -> Any:
    """Return what opens a WebSocket, which shall take no key wherever an answer points."""
    if hasattr(opening, "process_redirect"):
        opening.process_redirect = lambda error: error
    return opening


def refused(
    call: Call, error: Exception, headers: Mapping[str, str] = MappingProxyType({})
) -> SandboxException:
    """Return the exception of a WebSocket that was not opened, or that broke.

    Its ``cause`` is what may be shown of ``error``.
    """
    if isinstance(error, InvalidProxy | ImportError):
        return unusable_proxy(type(error).__name__)
    if isinstance(error, InvalidStatus):
        response: Response = error.response
        said = {name.lower(): value for name, value in response.headers.raw_items()}
        reply = Reply(response.status_code, said, bytes(response.body or b""))
        return api_error(call, censored(reply, headers))
    failure: Failure = Unreachable(error) if isinstance(error, OSError) else Broken(error)
    return translated(call, failure)
