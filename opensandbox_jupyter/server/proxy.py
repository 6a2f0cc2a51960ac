"""``/sandboxes/{id}/proxy/{port}/…``: a sandbox's own servers, through this one.

Unlike the original, which lets anybody in here, the API key is asked for as everywhere else.
Port 18080 is the sidecar's, which is in this server: nothing that is sent there gets inside.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import h11
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from opensandbox_jupyter.constants import API_KEY_HEADER, DEFAULT_EXECD_PORT, EXECD_TOKEN_HEADER
from opensandbox_jupyter.hosting.exchange import BLOCK, Exchange, Headers, Silence, end_to_end
from opensandbox_jupyter.hosting.refusals import UNREACHED
from opensandbox_jupyter.hosting.tunnels import Closed, Opening, Way
from opensandbox_jupyter.server.clock import wall
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.sandboxes import Sandboxes
from opensandbox_jupyter.server.sidecar import EGRESS_PORT, TOKEN_HEADER, answer_sidecar
from opensandbox_jupyter.server.signing import SIGNED

__all__ = ["ServerProxy", "is_proxied"]

_PATH = re.compile(rb"((?:/v1)?/sandboxes/([^/]+)/proxy/([0-9]+))(/.*)?")
_MOST_DIGITS = 6
_PATIENCE = 180.0
_KEPT_BACK = tuple(
    name.lower().encode()
    for name in (
        "Authorization", "Cookie", "Expect", "Forwarded", "Host", "OpenSandbox-Access-Renew",
        "OpenSandbox-Secure-Access", "X-Real-IP", API_KEY_HEADER, EXECD_TOKEN_HEADER,
        TOKEN_HEADER,
    )
)  # fmt: skip


def is_proxied(path: bytes) -> bool:
    """Whether a request for ``path`` is a sandbox's business, its size included."""
    found = _place(path)
    return found is not None and found.port != EGRESS_PORT


@dataclass(frozen=True)
class _Place:
    """What a path means; a port that is too long is none."""

    prefix: bytes
    sandbox_id: str
    port: int
    rest: bytes


def _place(path: bytes) -> _Place | None:
    found = _PATH.fullmatch(path) or SIGNED.fullmatch(path)
    if found is None:
        return None
    port = int(found[3]) if len(found[3]) <= _MOST_DIGITS else 0
    return _Place(found[1], found[2].decode("latin-1"), port, found[found.re.groups] or b"/")


class ServerProxy:
    """An ASGI application for requests, and :meth:`lead` for WebSockets."""

    def __init__(self, sandboxes: Sandboxes, patience: float = _PATIENCE) -> None:
        self._sandboxes = sandboxes
        self._patience = patience

    def routes(self) -> list[Route]:
        """Return the routes of requests."""
        path = "/sandboxes/{id}/proxy/{port}"
        paths = (path, f"{path}/{{rest:path}}", "/signed/{rest:path}")
        return [Route(path, self) for path in paths]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on. Raises: Refusal, when the answer has not begun yet."""
        found = _place(scope["raw_path"])
        if found is not None and found.port == EGRESS_PORT:
            rest = found.rest[1:].decode("latin-1")
            request = Request(scope, receive)
            answer = await answer_sidecar(self._sandboxes, request, found.sandbox_id, rest)
            await answer(scope, receive, send)
            return
        query = scope["query_string"]
        prefix, socket_path, target, more = self._way(scope["raw_path"], query)
        client = str(scope["client"][0]) if scope.get("client") else ""
        headers = [*_passed_on(scope["headers"], client), *more]
        exchange = Exchange(
            lambda: asyncio.open_unix_connection(socket_path, limit=BLOCK * 2),
            partial(_answer, prefix),
            self._patience,
        )
        try:
            await exchange.run(scope["method"], target, headers, receive, send)
        except (OSError, h11.ProtocolError, Silence) as error:
            if not exchange.answering:
                raise _failed(error) from error
        finally:
            exchange.close()

    def lead(self, admit: Callable[[bytes, Headers], None], opening: Opening) -> Way:
        """Lead a WebSocket, once ``admit`` has let it in. Raises: Closed."""
        path, _, query = opening.target.partition(b"?")
        try:
            admit(path, opening.headers)
            if not is_proxied(path):
                raise Refusal(404, "SANDBOX::API_NOT_SUPPORTED", "There is no WebSocket here.")
            _, socket_path, target, more = self._way(path, query)
        except Refusal as refusal:
            body = {"code": refusal.code, "message": refusal.message}
            raise Closed(JSONResponse(body, refusal.status)) from refusal
        connect = partial(asyncio.get_running_loop().create_unix_connection, path=socket_path)
        kept = [
            pair
            for pair in _passed_on(opening.headers, opening.client)
            if pair[0] not in {b"connection", b"upgrade"}
        ]
        kept += [*more, (b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
        return Way(connect, target, kept, "The sandbox cannot be reached")

    def _way(self, path: bytes, query: bytes) -> tuple[bytes, str, bytes, Headers]:
        """Return the prefix of the path, execd's socket, what to ask it for, and its headers."""
        found = _place(path)
        if found is None or found.port == EGRESS_PORT:
            raise Refusal(404, "SANDBOX::API_NOT_SUPPORTED", "There is no such page.")
        port = found.port
        socket_path, token = self._sandboxes.entry(found.sandbox_id).way_in()
        if not 1 <= port <= 65_535:
            raise Refusal(400, "DOCKER::INVALID_PORT", "A port is a number from 1 to 65535.")
        later = self._sandboxes.get(found.sandbox_id).prolonged(wall())
        if later is not None:
            self._sandboxes.renew(found.sandbox_id, later)
        place = b"" if port == DEFAULT_EXECD_PORT else b"/proxy/%d" % port
        target = place + found.rest + (b"?" + query if query else b"")
        headers = [
            (b"host", b"127.0.0.1:%d" % port),
            (EXECD_TOKEN_HEADER.lower().encode(), token.encode()),
        ]
        return found.prefix, socket_path, target, headers


def _passed_on(headers: Headers, client: str) -> Headers:
    """Return what a sandbox may know of a request: no keys, and who asked in our own words."""
    host = b"".join(value for name, value in headers if name == b"host")
    kept = [
        (name, value)
        for name, value in headers
        if name not in _KEPT_BACK and not name.startswith(b"x-forwarded-")
    ]
    return [
        *kept,
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", host),
        (b"x-forwarded-for", client.encode()),
    ]


def _answer(prefix: bytes, response: h11.Response) -> Headers:
    headers = end_to_end(response.headers, b"date")
    if response.status_code == 502 and any(name == UNREACHED.encode() for name, _ in headers):
        raise Refusal(502, "BACKEND_CONNECTION_FAILED", "Nothing useful came from that port.")
    return [
        (name, prefix + value if name == b"location" and _is_rooted(value) else value)
        for name, value in headers
    ]


def _is_rooted(location: bytes) -> bool:
    return location.startswith(b"/") and not location.startswith((b"//", b"/\\"))


def _failed(error: Exception) -> Refusal:
    if isinstance(error, Silence):
        return Refusal(504, "BACKEND_TIMEOUT", "The sandbox did not answer in time.")
    if isinstance(error, h11.ProtocolError):
        return Refusal(502, "BACKEND_RESPONSE_FAILED", "The sandbox's answer is no HTTP.")
    return Refusal(502, "BACKEND_CONNECTION_FAILED", "The sandbox cannot be reached.")
