"""What both clients over httpx share: requests from calls, and httpx's errors as failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from opensandbox_jupyter.retry import RetryCause
from opensandbox_jupyter.transport._choice import unusable_proxy
from opensandbox_jupyter.transport.answer import DRIPS, MAX_BODY
from opensandbox_jupyter.transport.failures import (
    BadAddress,
    Broken,
    Failure,
    HungUp,
    TooSlow,
    Unfit,
    Unreachable,
)
from opensandbox_jupyter.transport.redirects import common_to_all
from opensandbox_jupyter.transport.request import Upload, bare
from opensandbox_jupyter.wire.base import Call

if TYPE_CHECKING:
    from opensandbox_jupyter.settings import Settings

_ALLOWED = "opensandbox_allowed"
_TIMEOUTS = {
    httpx.PoolTimeout: RetryCause.PRE_SEND,
    httpx.WriteTimeout: RetryCause.WRITE_TIMEOUT,
}
_NEEDED = ("host", "content-type", "content-length", "transfer-encoding", "connection")
_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=20, keepalive_expiry=30)


def client_options(settings: Settings, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of an httpx client.

    Certificates are loaded only for https, which saves a plain http client 20 ms.
    """
    options: dict[str, Any] = {
        "headers": {"Accept-Encoding": "identity", **headers},
        "timeout": httpx.Timeout(settings.request_timeout.total_seconds()),
        "verify": settings.protocol == "https",
        "limits": _LIMITS,
        "follow_redirects": False,
    }
    if settings.transport is not None:
        options["transport"] = settings.transport
    return options


def request_arguments(call: Call, body: Callable[[Upload], Any]) -> dict[str, Any]:
    """Return the arguments of ``client.build_request`` for ``call``.

    An upload is made by us, as ``body`` carries it, so that it goes out in pieces as it is made.
    """
    base_url, authorization = bare(call.origin.base_url)
    headers = {**authorization, **call.origin.headers, **call.headers}
    arguments: dict[str, Any] = {
        "method": call.method,
        "url": base_url + call.path,
        "headers": headers,
        "extensions": {},
    }
    if call.origin.is_foreign:
        arguments["extensions"][_ALLOWED] = {name.lower() for name in call.headers}
    if call.query:
        arguments["params"] = list(call.query)
    if call.json is not None:
        headers["Content-Type"] = "application/json"
        arguments["content"] = call.json
    elif call.parts is not None:
        upload = Upload(list(call.parts))
        headers["Content-Type"] = upload.content_type
        if upload.length is not None:
            headers["Content-Length"] = str(upload.length)
        arguments["content"] = body(upload)
    return arguments


def hooks(settings: Settings, last: Callable[..., Any]) -> dict[str, list[Callable[..., Any]]]:
    """Return the user's hooks; after those of requests comes ``last``."""
    given = {event: list(some) for event, some in settings.event_hooks.items()}
    return {**given, "request": [*given.get("request", ()), last]}


def keep_ours(request: httpx.Request) -> None:
    """Take out what must not go to a foreign origin, whoever put it there."""
    allowed = request.extensions.get(_ALLOWED)
    if allowed is not None:
        allowed = {*allowed, *_NEEDED, *common_to_all(request.headers)}
        for name in set(request.headers) - allowed:
            del request.headers[name]


def drip_bound(settings: Settings) -> float:
    """Return how long a whole body may take after its head, in seconds."""
    return DRIPS * settings.request_timeout.total_seconds()


def stream_timeout(client: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Timeout:
    """Return the timeouts of a stream: silence is bounded only if the call says so."""
    known = client.timeout
    return httpx.Timeout(
        connect=known.connect, write=known.write, pool=known.pool, read=call.patience
    )


def refuse_coding(headers: Mapping[str, str]) -> None:
    """Refuse a compressed answer, which was not asked for and may be a thousand times its size.

    Raises:
        Unfit: when it is one.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Unfit(ValueError("the answer is compressed"))


class Whole:
    """A body that is kept whole, within bounds: of its size, and of when its last byte comes."""

    def __init__(self, within: float) -> None:
        self._end = time.monotonic() + within
        self._pieces: list[bytes] = []
        self._size = 0

    def take(self, piece: bytes) -> None:
        """Keep another piece.

        Raises:
            Unfit: when it is too much.
            TooSlow: when it should all be there by now.
        """
        if time.monotonic() > self._end:
            raise TooSlow("the answer dripped")
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_BODY:
            raise Unfit(ValueError(f"an answer is longer than {MAX_BODY} bytes"))

    def value(self) -> bytes:
        """Return it."""
        return b"".join(self._pieces)


@contextmanager
def named_proxies() -> Iterator[None]:
    """Say in one sentence that a proxy of the environment cannot be used, without its password."""
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as cause:
        kind = type(cause).__name__
    else:
        return
    raise unusable_proxy(kind)


@contextmanager
def failures() -> Iterator[None]:
    """Turn httpx's errors into failures."""
    try:
        yield
    except httpx.HTTPError as cause:
        raise failure_of(cause) from cause
    except httpx.InvalidURL as cause:
        raise BadAddress(cause) from cause


def failure_of(cause: httpx.HTTPError) -> Failure:
    """Return what an error of httpx is."""
    if isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout):
        return Unreachable(cause)
    if isinstance(cause, httpx.TimeoutException):
        return TooSlow(cause, _TIMEOUTS.get(type(cause)))
    if isinstance(cause, httpx.RemoteProtocolError):
        return HungUp(cause)
    if isinstance(cause, httpx.UnsupportedProtocol):
        return BadAddress(cause)
    return Broken(cause)
