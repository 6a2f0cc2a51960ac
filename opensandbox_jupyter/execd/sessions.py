"""``/session``: a bash that keeps variables, functions, aliases and its directory between runs.

A client that leaves during a run interrupts it, unless it said otherwise; the session stays.
``exit`` ends the session, and leaves its background jobs alone. The file of variables is read when
the session begins.
"""

from __future__ import annotations

import os
import shlex
from uuid import uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from opensandbox_jupyter.execd.environment import command_env, expand
from opensandbox_jupyter.execd.errors import Refusal, bad_request
from opensandbox_jupyter.execd.requests import (
    absolute,
    in_chunks,
    read_optional,
    settings_of,
    when_left,
)
from opensandbox_jupyter.execd.shells import Shell
from opensandbox_jupyter.execd.streams import CommandStream, Output
from opensandbox_jupyter.execd.way_out import base_env

__all__ = ["ROUTES", "Sessions", "sessions_of"]

_MOST = 256
_ENDED_KEPT = 1024
_LONGEST = 1024 * 1024


class SessionRequest(msgspec.Struct):
    """The body of ``POST /session``; none is as good as an empty one."""

    cwd: str | None = None


class RunRequest(msgspec.Struct):
    """The body of a run; ``timeout`` is in milliseconds."""

    command: str = ""
    cwd: str | None = None
    timeout: int | None = None

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            Refusal: 400.
        """
        if not self.command.strip():
            raise bad_request("The command is empty.")
        if "\0" in self.command + (self.cwd or ""):
            raise bad_request("A command cannot hold a NUL character.")
        if len(self.command.encode("utf-8", "replace")) > _LONGEST:
            raise bad_request(f"A command of a session is at most {_LONGEST} bytes long.")
        if self.timeout is not None and not 0 <= self.timeout <= 2**53:
            raise bad_request("timeout must be a number of milliseconds.")


class Sessions:
    """All shells that live, and how the latest others ended."""

    def __init__(self) -> None:
        self._shells: dict[str, Shell] = {}
        self._ended: dict[str, None] = {}

    def open(self, cwd: str, env: dict[str, str]) -> Shell:
        """Start a shell.

        Raises:
            Refusal: 409 when there are too many, 500 when bash cannot be started.
        """
        if len(self._shells) >= _MOST:
            raise Refusal(409, "RUNTIME_ERROR", f"There are {_MOST} sessions; delete one first.")
        session_id = str(uuid4())
        try:
            shell = Shell(session_id, cwd, env, lambda: self._end(session_id))
        except OSError as exc:
            raise Refusal(500, "RUNTIME_ERROR", f"bash cannot be started: {exc}") from None
        self._shells[session_id] = shell
        return shell

    def _end(self, session_id: str) -> None:
        if self._shells.pop(session_id, None) is not None:
            self._ended[session_id] = None
            if len(self._ended) > _ENDED_KEPT:
                del self._ended[next(iter(self._ended))]

    def get(self, session_id: str) -> Shell | None:
        """Return a session that lives."""
        return self._shells.get(session_id)

    def find(self, session_id: str) -> Shell:
        """Return a session.

        Raises:
            Refusal: 404 when there is none, or its shell has ended.
        """
        shell = self._shells.get(session_id)
        if shell is None:
            message = f"There is no session {session_id[:64]}."
            if session_id in self._ended:
                message = f"The shell of the session {session_id} has ended; open another one."
            raise Refusal(404, "CONTEXT_NOT_FOUND", message)
        return shell

    async def delete(self, session_id: str) -> None:
        """End a session and everything that it started; one that ended by itself is forgotten.

        Raises:
            Refusal: 404 when there is none.
        """
        if session_id in self._ended:
            del self._ended[session_id]
            return
        await self.find(session_id).end()
        self._ended.pop(session_id, None)

    async def close(self) -> None:
        """End all of them."""
        for shell in list(self._shells.values()):
            await shell.end()


def sessions_of(request: Request) -> Sessions:
    """Return the daemon's sessions."""
    sessions = request.app.state.sessions
    assert isinstance(sessions, Sessions)
    return sessions


async def _open(request: Request) -> Response:
    wanted = await read_optional(request, SessionRequest)
    settings = settings_of(request)
    cwd = absolute(request, wanted.cwd) if wanted.cwd else settings.cwd
    os.makedirs(cwd, exist_ok=True)
    env = command_env(base_env(settings), settings.env_file, None)
    return JSONResponse({"session_id": sessions_of(request).open(cwd, env).id})


async def _run(request: Request) -> ASGIApp:
    wanted = await read_optional(request, RunRequest)
    wanted.check()
    shell = sessions_of(request).find(request.path_params["id"])
    command = wanted.command
    if wanted.cwd:
        directory = expand(wanted.cwd, settings_of(request).env)
        if not shell.has_directory(directory):
            raise bad_request(f"The working directory {directory} does not exist.")
        command = f"cd -- {shlex.quote(directory)} || return; {command}"
    if shell.turn is None:
        await shell.settled()
        shell = sessions_of(request).find(shell.id)  # it may have ended meanwhile
    if shell.turn is not None:
        message = "A command already runs in this session; wait for it, or use another session."
        raise Refusal(409, "RUNTIME_ERROR", message)
    turn = shell.run(command, wanted.timeout / 1000 if wanted.timeout else None)
    output = Output(turn)
    turn.feeds = {"stdout": output.feed_stdout, "stderr": output.feed_stderr}
    turn.goes_on = when_left(request) == "go-on"
    return CommandStream(turn, output, lines=not in_chunks(request))


async def _delete(request: Request) -> Response:
    await sessions_of(request).delete(request.path_params["id"])
    return Response()


ROUTES = [
    Route("/session", _open, methods=["POST"]),
    Route("/session/{id}/run", _run, methods=["POST"]),
    Route("/session/{id}", _delete, methods=["DELETE"]),
]
