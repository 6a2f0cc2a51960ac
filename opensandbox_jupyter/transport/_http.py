"""What the drivers share: requests from calls, and the edge where httpx's errors become ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from opensandbox_jupyter import __version__
from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxConnectionException,
    SandboxException,
    SandboxTimeoutException,
)
from opensandbox_jupyter.wire.base import Call, Part, Reply

if TYPE_CHECKING:
    from opensandbox_jupyter.config import ConnectionConfig, ConnectionConfigSync

log = logging.getLogger("opensandbox_jupyter")

MAX_ERROR_BODY = 64 * 1024
"""How much of a refused stream's body is read, in bytes."""

TAIL_BOUND = 0.02
"""How long to wait for the end of a stream after its last event, in seconds."""

_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=20, keepalive_expiry=30)


def client_options(
    config: ConnectionConfig | ConnectionConfigSync, *, embedded: bool
) -> dict[str, Any]:
    """Return the arguments of an httpx client.

    Certificates are loaded only for https, which saves a plain http client 20 ms. The embedded
    server is never asked through a proxy that the environment names.
    """
    options: dict[str, Any] = {
        "headers": {
            "User-Agent": config.user_agent or f"opensandbox-jupyter/{__version__}",
            **config.headers,
        },
        "timeout": httpx.Timeout(config.get_request_timeout().total_seconds()),
        "trust_env": not embedded,
        "verify": not embedded and config.get_protocol() == "https",
        "limits": _LIMITS,
    }
    if config.transport is not None:
        options["transport"] = config.transport
    if config.debug:
        log.setLevel(logging.DEBUG)
    return options


def request_arguments(call: Call) -> dict[str, Any]:
    """Return the arguments of ``client.build_request`` for ``call``."""
    headers = {**call.origin.headers, **call.headers}
    arguments: dict[str, Any] = {
        "method": call.method,
        "url": call.origin.base_url + call.path,
        "headers": headers,
    }
    if call.query:
        arguments["params"] = list(call.query)
    if call.json is not None:
        headers["Content-Type"] = "application/json"
        arguments["content"] = call.json
    elif call.parts is not None:
        arguments["files"] = _files(list(call.parts))
    log.debug("%s: %s %s", call.name, call.method, call.origin.base_url + call.path)
    return arguments


def reply_of(response: httpx.Response) -> Reply:
    """Return a read response as a reply."""
    return Reply(response.status_code, response.headers, response.content)


def without_read_timeout(client: httpx.Client | httpx.AsyncClient) -> httpx.Timeout:
    """Return the client's timeouts for a stream: connecting is bounded, silence is not."""
    known = client.timeout
    return httpx.Timeout(connect=known.connect, write=known.write, pool=known.pool, read=None)


@contextmanager
def errors_of(call: Call) -> Iterator[None]:
    """Turn httpx's errors into ours."""
    try:
        yield
    except httpx.HTTPError as cause:
        raise _translated(call, cause) from cause
    except httpx.InvalidURL as cause:
        raise _bad_address(call, cause) from cause


def _translated(call: Call, cause: httpx.HTTPError) -> SandboxException:
    what, where = call.name.replace("_", " "), call.origin.base_url
    if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
        return SandboxConnectionException(
            f"{what}: nothing answers at {where}.",
            cause=cause,
            is_retryable=True,
            hint="Is the server running, and is the address right? "
            "Look at OPEN_SANDBOX_DOMAIN or ConnectionConfig(domain=...).",
        )
    if isinstance(cause, httpx.TimeoutException):
        return SandboxTimeoutException(
            f"{what}: no answer from {where} in time.",
            cause=cause,
            hint="The sandbox may be paused or very busy; "
            "ConnectionConfig(request_timeout=...) waits longer.",
        )
    if isinstance(cause, httpx.UnsupportedProtocol):
        return _bad_address(call, cause)
    return SandboxConnectionException(
        f"{what}: the connection to {where} broke ({type(cause).__name__}).",
        cause=cause,
        is_retryable=True,
        hint="The server or the sandbox was stopped in the middle: look at get_info().",
    )


def _bad_address(call: Call, cause: Exception) -> InvalidArgumentException:
    return InvalidArgumentException(
        f"{call.origin.base_url} is not an address: {cause}",
        cause=cause,
        hint="A domain is host[:port], for example sandbox.example.com:8080.",
    )


def _files(parts: Sequence[Part]) -> list[tuple[str, tuple[str, Any, str]]]:
    return [(p.name, (p.filename, p.content, p.content_type)) for p in parts]
