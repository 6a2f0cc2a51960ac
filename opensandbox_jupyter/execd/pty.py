"""``/pty``: make a terminal, ask after it, end it, and look at it through a WebSocket.

A client that leaves does not end the shell: what it missed is replayed when it comes back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import uuid4

import msgspec
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from opensandbox_jupyter.execd.environment import command_env
from opensandbox_jupyter.execd.errors import Refusal, bad_request, error_response
from opensandbox_jupyter.execd.requests import absolute, is_directory, read_optional, settings_of
from opensandbox_jupyter.execd.terminals import Terminal
from opensandbox_jupyter.execd.viewers import Viewer
from opensandbox_jupyter.execd.way_out import base_env

__all__ = ["ROUTES", "Terminals"]

_MOST = 256
_EVICTION = 5.0


class PtyRequest(msgspec.Struct):
    """The body of ``POST /pty``; none is as good as an empty one."""

    cwd: str | None = None
    command: str | None = None


class Terminals:
    """All terminals, and who looks at each."""

    def __init__(self) -> None:
        self._terminals: dict[str, Terminal] = {}
        self._viewers: dict[str, Viewer] = {}

    def add(self, terminal: Terminal) -> str:
        """Keep a terminal and return its id.

        Raises:
            Refusal: 409 when there are too many.
        """
        if len(self._terminals) >= _MOST:
            raise Refusal(409, "RUNTIME_ERROR", f"There are {_MOST} terminals; delete one first.")
        session_id = str(uuid4())
        self._terminals[session_id] = terminal
        return session_id

    def find(self, session_id: str) -> Terminal:
        """Return a terminal.

        Raises:
            Refusal: 404 when there is none.
        """
        terminal = self._terminals.get(session_id)
        if terminal is None:
            raise Refusal(404, "CONTEXT_NOT_FOUND", f"There is no terminal {session_id[:64]}.")
        return terminal

    async def seat(self, viewer: Viewer, session_id: str, *, takeover: bool) -> None:
        """Make ``viewer`` the one that looks.

        Raises:
            Refusal: 409 when another does, and stays.
        """
        other = self._viewers.get(session_id)
        if other is not None and not takeover:
            message = "Another client looks at this terminal; takeover=1 takes its place."
            raise Refusal(409, "ALREADY_CONNECTED", message)
        self._viewers[session_id] = viewer
        if other is not None:
            other.evict()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(other.gone.wait(), _EVICTION)
            other.leave()

    def unseat(self, viewer: Viewer, session_id: str) -> None:
        """Forget a viewer."""
        if self._viewers.get(session_id) is viewer:
            del self._viewers[session_id]

    async def delete(self, session_id: str) -> None:
        """End a terminal and everything in it.

        Raises:
            Refusal: 404 when there is none.
        """
        terminal = self.find(session_id)
        del self._terminals[session_id]
        viewer = self._viewers.pop(session_id, None)
        await terminal.end()
        if viewer is not None:
            viewer.close(1000, "deleted")

    async def close(self) -> None:
        """End all of them."""
        for session_id in list(self._terminals):
            await self.delete(session_id)


def _terminals(connection: HTTPConnection) -> Terminals:
    app = connection.app
    assert isinstance(app, Starlette)
    terminals = app.state.terminals
    assert isinstance(terminals, Terminals)
    return terminals


async def _make(request: Request) -> Response:
    wanted = await read_optional(request, PtyRequest)
    if "\0" in (wanted.command or ""):
        raise bad_request("A command cannot hold a NUL character.")
    cwd = absolute(request, wanted.cwd) if wanted.cwd else settings_of(request).cwd
    if not is_directory(cwd):
        raise bad_request(f"The working directory {cwd} does not exist.")
    session_id = _terminals(request).add(Terminal(cwd, wanted.command))
    return JSONResponse({"session_id": session_id}, 201)


async def _look(request: Request) -> Response:
    session_id = request.path_params["id"]
    terminal = _terminals(request).find(session_id)
    status = {"running": terminal.running, "output_offset": terminal.ring.end}
    return JSONResponse({"session_id": session_id, **status})


async def _delete(request: Request) -> Response:
    await _terminals(request).delete(request.path_params["id"])
    return Response()


async def _plain(_: Request) -> Response:
    raise Refusal(426, "INVALID_REQUEST_BODY", "This way in is a WebSocket.")


async def _attach(socket: WebSocket) -> None:
    session_id, query = socket.path_params["id"], socket.query_params
    terminals, settings = _terminals(socket), settings_of(socket)
    since = query.get("since", "0")
    viewer = None
    try:
        if not (since.isascii() and since.isdigit() and len(since) < 19):
            raise bad_request("since must be a whole number.")
        viewer = Viewer(socket, session_id, terminals.find(session_id))
        await terminals.seat(viewer, session_id, takeover=query.get("takeover") == "1")
        env = command_env(base_env(settings), settings.env_file, None)
        await viewer.run(env, int(since), pty=query.get("pty", "1") != "0")
    except Refusal as exc:
        refusal = error_response(exc.status, exc.error.code, exc.message or "")
        await socket.send_denial_response(refusal)
    finally:
        if viewer is not None:
            viewer.leave()
            terminals.unseat(viewer, session_id)


async def _nowhere(socket: WebSocket) -> None:
    await socket.send_denial_response(error_response(404, "NOT_FOUND", "Not Found"))


ROUTES: list[BaseRoute] = [
    Route("/pty", _make, methods=["POST"]),
    Route("/pty/{id}", _look, methods=["GET"]),
    Route("/pty/{id}", _delete, methods=["DELETE"]),
    Route("/pty/{id}/ws", _plain),
    WebSocketRoute("/pty/{id}/ws", _attach),
    WebSocketRoute("/{rest:path}", _nowhere),
]
