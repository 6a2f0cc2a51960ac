"""What both clients over httpx share: requests from calls, and httpx's errors as failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx

from opensandbox_jupyter.transport.failures import (
    BadAddress,
    Broken,
    Failure,
    TooSlow,
    Unreachable,
)
from opensandbox_jupyter.wire.base import Call, Part

if TYPE_CHECKING:
    from opensandbox_jupyter.config import ConnectionConfig, ConnectionConfigSync

_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=20, keepalive_expiry=30)


def client_options(
    config: ConnectionConfig | ConnectionConfigSync, headers: Mapping[str, str]
) -> dict[str, Any]:
    """Return the arguments of an httpx client.

    Certificates are loaded only for https, which saves a plain http client 20 ms.
    """
    options: dict[str, Any] = {
        "headers": headers,
        "timeout": httpx.Timeout(config.get_request_timeout().total_seconds()),
        "verify": config.get_protocol() == "https",
        "limits": _LIMITS,
    }
    if config.transport is not None:
        options["transport"] = config.transport
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
    return arguments


def without_read_timeout(client: httpx.Client | httpx.AsyncClient) -> httpx.Timeout:
    """Return the client's timeouts for a stream: connecting is bounded, silence is not."""
    known = client.timeout
    return httpx.Timeout(connect=known.connect, write=known.write, pool=known.pool, read=None)


@contextmanager
def failures() -> Iterator[None]:
    """Turn httpx's errors into failures."""
    try:
        yield
    except httpx.HTTPError as cause:
        raise _failure(cause) from cause
    except httpx.InvalidURL as cause:
        raise BadAddress(cause) from cause


def _failure(cause: httpx.HTTPError) -> Failure:
    if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
        return Unreachable(cause)
    if isinstance(cause, httpx.TimeoutException):
        return TooSlow(cause)
    if isinstance(cause, httpx.UnsupportedProtocol):
        return BadAddress(cause)
    return Broken(cause)


def _files(parts: Sequence[Part]) -> list[tuple[str, tuple[str, Any, str]]]:
    """Return parts as httpx takes them; bytes as a file, so that they go out in pieces."""
    return [(p.name, (p.filename, _file(p.content), p.content_type)) for p in parts]


def _file(content: Any) -> Any:
    return BytesIO(content) if isinstance(content, bytes) else content
