"""The daemon's routes, and the guard before all of them."""

from __future__ import annotations

import hmac

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER
from opensandbox_jupyter.execd import (
    claim,
    code,
    commands,
    directories,
    files,
    hooks,
    identities,
    isolated,
    isolated_runs,
    metrics,
    pty,
    sessions,
    uploads,
)
from opensandbox_jupyter.execd.contexts import Contexts
from opensandbox_jupyter.execd.enclosures import Enclosures
from opensandbox_jupyter.execd.errors import HANDLERS, error_response
from opensandbox_jupyter.execd.executions import Book
from opensandbox_jupyter.execd.proxy import PROXY_PREFIX, Proxy
from opensandbox_jupyter.execd.pty import Terminals
from opensandbox_jupyter.execd.sessions import Sessions
from opensandbox_jupyter.execd.settings import Settings

__all__ = ["make_app"]

_TOKEN = EXECD_TOKEN_HEADER.lower().encode()
_MOST_HEADERS = 100
_MOST_BYTES = 64 * 1024


class Guard:
    """Lets a request pass that carries the token and does not come from a page in a browser.

    Pages that a port of the sandbox serves may ask that port; the token they need all the same.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it before any WebSocket is made of it."""
        refusal = None
        if scope["type"] in ("http", "websocket"):
            refusal = self.refusal(scope["headers"], scope["raw_path"])
        await (refusal or self._app)(scope, receive, send)

    def refusal(self, headers: list[tuple[bytes, bytes]], target: bytes) -> Response | None:
        """Return why a request is refused, or ``None``."""
        size = sum(len(name) + len(value) for name, value in headers)
        if len(headers) > _MOST_HEADERS or size > _MOST_BYTES:
            return error_response(431, "INVALID_REQUEST_BODY", "The headers are too many or long.")
        names = [name.lower() for name, _ in headers]
        given = [value for name, (_, value) in zip(names, headers, strict=True) if name == _TOKEN]
        if len(given) != 1 or not hmac.compare_digest(given[0], self._token):
            message = f"The header {EXECD_TOKEN_HEADER} does not carry this sandbox's token."
            return error_response(401, "UNAUTHORIZED", message, error=message)
        if b"origin" in names and not target.startswith(PROXY_PREFIX):
            return error_response(403, "FORBIDDEN", "Requests of web pages are not answered.")
        return None


async def _ping(_: Request) -> Response:
    return Response()


async def _openapi(_: Request) -> Response:
    from opensandbox_jupyter.execd.openapi import answer  # only for those who ask

    return answer()


def make_app(
    settings: Settings,
    book: Book,
    open_sessions: Sessions,
    terminals: Terminals,
    enclosures: Enclosures,
    contexts: Contexts,
) -> Guard:
    """Return the ASGI application of the daemon."""
    routes = [
        Route("/ping", _ping),
        Route("/openapi.json", _openapi),
        Route("/ready", _ping),
        Route("/internal/init", claim.init, methods=["POST"]),
        Route("/command", commands.run, methods=["POST"]),
        Route("/command", commands.interrupt, methods=["DELETE"]),
        Route("/command/status/{id}", commands.status),
        Route("/command/{id}/logs", commands.logs),
        Route("/command/{id}/stream", commands.stream),
        *files.ROUTES,
        *directories.ROUTES,
        *uploads.ROUTES,
        *metrics.ROUTES,
        *sessions.ROUTES,
        *pty.ROUTES,
        *identities.ROUTES,
        *(isolated_runs.ROUTES if settings.is_nested else isolated.ROUTES),
        *code.ROUTES,
        *hooks.ROUTES,
        Route("/proxy/{rest:path}", Proxy()),
    ]
    app = Starlette(routes=routes, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    app.state.settings = settings
    app.state.book = book
    app.state.sessions = open_sessions
    app.state.terminals = terminals
    app.state.enclosures = enclosures
    app.state.contexts = contexts
    app.state.hooks = hooks.HookRuns(lambda: app.state.settings, book)
    return Guard(app, settings.token)
