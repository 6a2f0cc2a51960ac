"""The ASGI program: who may ask, how much, and in which form errors are answered."""

from __future__ import annotations

import hmac
import logging
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opensandbox_jupyter.constants import API_KEY_HEADER, REQUEST_ID_HEADER
from opensandbox_jupyter.hosting.methods import methods_of
from opensandbox_jupyter.server.answers import json_response
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.proxy import is_proxied
from opensandbox_jupyter.server.sidecar import PREFIX
from opensandbox_jupyter.server.signing import Signing

__all__ = ["Gate", "Policy", "make_app"]

_LOG = logging.getLogger(__name__)
_MOST_BODY = 1 << 20
_MOST_HEADERS = 100
_OPEN_PATHS = frozenset({b"/health", b"/openapi.json", b"/version"})
_FOREIGN_SITES = frozenset({"cross-site", "same-site"})


@dataclass
class Policy:
    """Whom the server answers."""

    api_key: str = field(repr=False)
    port: int = 0
    """The bound port; known once the server listens."""
    host: str = "127.0.0.1"

    @cached_property
    def signing(self) -> Signing:
        """What signs ways to ports, and knows its own signatures."""
        return Signing(self.api_key.encode())

    @property
    def hosts(self) -> frozenset[str]:
        """Every ``Host`` that a request may name."""
        bound = f"[{self.host}]" if ":" in self.host else self.host
        names = {"127.0.0.1", "localhost", "[::1]", bound}
        return frozenset(f"{name}:{self.port}" for name in names)


def make_app(routes: list[BaseRoute], policy: Policy, touched: Callable[[], None]) -> Gate:
    """Return the program. ``touched`` is called for every request that was let in."""
    inner = Starlette(
        routes=routes,
        exception_handlers={
            Refusal: _answer_refusal,
            HTTPException: _answer_http_error,
            ClientDisconnect: _answer_nobody,
            sqlite3.Error: _answer_fault,
            OSError: _answer_fault,
            Exception: _answer_fault,
        },
    )
    inner.router.redirect_slashes = False
    return Gate(inner, policy, touched)


class Gate:
    """Stands before every route, known or not."""

    def __init__(self, app: ASGIApp, policy: Policy, touched: Callable[[], None]) -> None:
        self._app = app
        self._policy = policy
        self._touched = touched

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let nothing of it in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _Headers(scope["headers"])
        request_id = _request_id(headers)

        async def named_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append(
                    (REQUEST_ID_HEADER.lower().encode(), request_id.encode("ascii"))
                )
            await send(message)

        try:
            self.admit(scope["raw_path"], scope["headers"])
        except Refusal as refusal:
            await _answer(refusal)(scope, receive, named_send)
            return
        body = receive if is_proxied(scope["raw_path"]) else _bounded(receive)
        try:
            await self._app(scope, body, named_send)
        except Exception:
            _LOG.exception("request %s failed", request_id)

    def admit(self, raw_path: bytes, pairs: list[tuple[bytes, bytes]]) -> None:
        """Let a request or the opening of a WebSocket in. Raises: Refusal."""
        self._check(raw_path, _Headers(pairs))
        self._touched()

    def _check(self, raw_path: bytes, headers: _Headers) -> None:
        if len(headers.pairs) > _MOST_HEADERS:
            raise Refusal(431, "SANDBOX::INVALID_PARAMETER", "The request has too many headers.")
        hosts = headers.all(b"host")
        is_relative = raw_path.startswith(b"/")
        if len(hosts) != 1 or hosts[0].lower() not in self._policy.hosts or not is_relative:
            raise Refusal(421, "SANDBOX::INVALID_PARAMETER", "This server has another name.")
        own = {f"http://{host}" for host in self._policy.hosts}
        foreign = [origin for origin in headers.all(b"origin") if origin not in own]
        if foreign or _FOREIGN_SITES & set(headers.all(b"sec-fetch-site")):
            raise Refusal(403, "SANDBOX::INVALID_PARAMETER", "Other web pages may not ask here.")
        is_open = raw_path in _OPEN_PATHS or raw_path.startswith(PREFIX.encode())
        if not is_open and not self._policy.signing.admits(raw_path):
            self._check_key(headers.raw(API_KEY_HEADER.lower().encode()))
        length = headers.all(b"content-length")
        if is_proxied(raw_path):
            return
        if length and length[0].isdigit() and int(length[0][:12]) > _MOST_BODY:
            raise _too_large()

    def _check_key(self, given: list[bytes]) -> None:
        if not given:
            raise Refusal(
                401, "MISSING_API_KEY", f"The header {API_KEY_HEADER} with the API key is missing."
            )
        if len(given) > 1 or not hmac.compare_digest(given[0], self._policy.api_key.encode()):
            raise Refusal(401, "INVALID_API_KEY", "The API key is not this server's.")


class _Headers:
    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.pairs = pairs

    def raw(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.pairs if key == name]

    def all(self, name: bytes) -> list[str]:
        return [value.decode("latin-1") for value in self.raw(name)]


def _request_id(headers: _Headers) -> str:
    given = "".join(headers.all(REQUEST_ID_HEADER.lower().encode())[:1]).strip()
    if given and len(given) <= 128 and given.isascii() and given.isprintable():
        return given
    return str(uuid.uuid4())


def _bounded(receive: Receive) -> Receive:
    """Count the body while it is read."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > _MOST_BODY:
            raise _too_large()
        return message

    return bounded


def _too_large() -> Refusal:
    return Refusal(413, "SANDBOX::INVALID_PARAMETER", "The request is larger than 1 MiB.")


def _answer(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    body = {"code": refusal.code, "message": refusal.message}
    response = json_response(body, refusal.status, headers=dict(headers or {}))
    if refusal.status in {408, 413, 431}:
        response.headers["connection"] = "close"
    return response


async def _answer_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _answer(error)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: f"There is no {request.url.path} here.",
        405: f"{request.url.path} does not take {request.method}.",
    }
    message = words.get(error.status_code) or HTTPStatus(error.status_code).phrase
    code = "SANDBOX::API_NOT_SUPPORTED" if error.status_code in words else "SANDBOX::UNKNOWN_ERROR"
    headers = error.headers
    if error.status_code == 405:
        headers = {"Allow": ", ".join(methods_of(request.app.routes, request.scope))}
    return _answer(Refusal(error.status_code, code, message), headers)


async def _answer_nobody(_: Request, error: Exception) -> Response:
    """The client is gone; nobody reads this."""
    return Response(status_code=400)


async def _answer_fault(_: Request, error: Exception) -> Response:
    """A disk without room is its own answer; everything else is not expected."""
    text = str(error).lower()
    if "no space" in text or "disk is full" in text or "quota" in text:
        return _answer(
            Refusal(507, "SANDBOX::INTERNAL_ERROR", "The server's disk has no room left.")
        )
    _LOG.error("unexpected: %r", error, exc_info=error)
    return _answer(Refusal(500, "GENERAL::UNKNOWN_ERROR", "An unexpected error occurred."))
