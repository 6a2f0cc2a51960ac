"""``/command``: run one, ask after it, read what it wrote, end it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from opensandbox_jupyter.constants import LOGS_CURSOR_HEADER
from opensandbox_jupyter.execd import events
from opensandbox_jupyter.execd.code import contexts_of
from opensandbox_jupyter.execd.environment import command_env, expand
from opensandbox_jupyter.execd.errors import Refusal, bad_request
from opensandbox_jupyter.execd.executions import Book, Execution
from opensandbox_jupyter.execd.held import MOST_HELD, HeldStream
from opensandbox_jupyter.execd.pieces import in_threads, read_pieces
from opensandbox_jupyter.execd.processes import User
from opensandbox_jupyter.execd.requests import in_chunks, read_json, settings_of, when_left
from opensandbox_jupyter.execd.sessions import sessions_of
from opensandbox_jupyter.execd.settings import Settings
from opensandbox_jupyter.execd.streams import STREAM_HEADERS, CommandStream, Output
from opensandbox_jupyter.execd.way_out import base_env

__all__ = ["interrupt", "logs", "run", "start_entrypoint", "status", "stream"]

_MAX_ID = 2**32 - 2
_IDLE_ENTRYPOINT = ["tail", "-f", "/dev/null"]


class CommandRequest(msgspec.Struct):
    """The body of ``POST /command``; ``timeout`` is in milliseconds."""

    command: str | None = None
    argv: list[str] | None = None
    cwd: str | None = None
    background: bool | None = None
    timeout: int | None = None
    uid: int | None = None
    gid: int | None = None
    envs: dict[str, str] | None = None

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            Refusal: 400.
        """
        if (self.command is None) == (self.argv is None):
            raise bad_request("Give exactly one of command and argv.")
        words = self.argv if self.argv is not None else [self.command or ""]
        if not words or not words[0].strip():
            raise bad_request("The command is empty.")
        if any("\0" in word for word in words):
            raise bad_request("A command cannot hold a NUL character.")
        if self.timeout is not None and not 0 <= self.timeout <= 2**53:
            raise bad_request("timeout must be a number of milliseconds.")
        for name, number in (("uid", self.uid), ("gid", self.gid)):
            if number is not None and not 0 <= number <= _MAX_ID:
                raise bad_request(f"{name} must be between 0 and {_MAX_ID}.")

    def words(self, env: dict[str, str]) -> list[str]:
        """Return what to execute."""
        if self.argv is not None:
            return self.argv
        path = env.get("PATH", os.defpath)
        return [shutil.which("bash", path=path) or "sh", "-c", self.command or ""]


async def run(request: Request) -> ASGIApp:
    """Start a command and answer with its events."""
    wanted = await read_json(request, CommandRequest)
    wanted.check()
    settings = settings_of(request)
    env = command_env(base_env(settings), settings.env_file, wanted.envs)
    cwd = _directory(settings, wanted.cwd, env)
    user = User(wanted.uid, wanted.gid)
    content = wanted.command if wanted.command is not None else " ".join(wanted.argv or [])
    execution = Execution(content, wanted.words(env))
    book = _book(request)
    timeout = wanted.timeout / 1000 if wanted.timeout else None
    if wanted.background:
        _start_logged(book, execution, cwd, env, user, timeout)
        last = events.complete(0) if execution.process else events.failed(execution.error or "", [])
        return _once(events.init(execution.id) + last)
    output = Output(execution)
    readers = {"stdout": output.feed_stdout, "stderr": output.feed_stderr}
    with suppress(OSError, ValueError):  # the stream says it, as its last event
        execution.start(readers, cwd=cwd, env=env, user=user, timeout=timeout)
    book.add(execution)
    stream = CommandStream(execution, output, lines=not in_chunks(request))
    if when_left(request) != "hold" or len(book.held) >= MOST_HELD:
        return stream
    execution.held = HeldStream(execution, stream, book.held.discard)
    book.held.add(execution.held)
    return execution.held.since(0)


def _start_logged(
    book: Book,
    execution: Execution,
    cwd: str,
    env: dict[str, str],
    user: User,
    timeout: float | None = None,
) -> None:
    """Start a command whose output goes to a file; a failure is in its record."""
    execution.log = book.new_log(execution)
    try:
        feed = {"output": execution.log.write}
        execution.start(feed, cwd=cwd, env=env, user=user, timeout=timeout)
    except (OSError, ValueError):
        execution.log.close()
    book.add(execution)


def start_entrypoint(settings: Settings, book: Book) -> None:
    """Start the sandbox's own process beside execd, as the command ``entrypoint``."""
    argv = settings.entrypoint
    if not argv or argv == _IDLE_ENTRYPOINT:
        return
    env = command_env(base_env(settings), settings.env_file, None)
    execution = Execution(" ".join(argv), argv, "entrypoint")
    _start_logged(book, execution, settings.cwd, env, User(None, None))


def _directory(settings: Settings, cwd: str | None, env: dict[str, str]) -> str:
    """Return the directory to start in.

    Raises:
        Refusal: 400 when there is none of that name.
    """
    wanted = expand(cwd, env, strict=True) if cwd else settings.cwd
    path = os.path.join(settings.cwd, wanted)
    if "\0" in path or not os.path.isdir(path):
        raise bad_request(f"The working directory {wanted} does not exist.")
    return path


def _once(body: bytes) -> Response:
    response = Response(body)
    response.raw_headers += STREAM_HEADERS
    return response


def _book(request: Request) -> Book:
    book = request.app.state.book
    assert isinstance(book, Book)
    return book


async def interrupt(request: Request) -> Response:
    """End a command and everything that it started, or what runs in a session."""
    execution_id = request.query_params.get("id")
    if not execution_id:
        raise Refusal(400, "MISSING_QUERY", "The parameter id is missing.")
    context = contexts_of(request).get(execution_id)
    if context is not None:
        await contexts_of(request).interrupt(context)
        return Response()
    shell = sessions_of(request).get(execution_id)
    await (shell or _book(request).find(execution_id, "RUNTIME_ERROR")).interrupt()
    return Response()


async def status(request: Request) -> Response:
    """Tell whether a command runs, and how it ended."""
    execution = _book(request).find(request.path_params["id"], "INVALID_REQUEST_BODY")
    return JSONResponse(execution.status())


async def stream(request: Request) -> ASGIApp:
    """Go on with the stream of a command that is held, from its byte ``since`` on."""
    execution = _book(request).find(request.path_params["id"], "INVALID_REQUEST_BODY")
    since = request.query_params.get("since", "0")
    if not (since.isascii() and since.isdigit() and len(since) < 20):
        raise bad_request("since must be a number of bytes.")
    if execution.held is None:
        raise Refusal(410, "RUNTIME_ERROR", "The stream of this command is not held.")
    return execution.held.since(int(since))


async def logs(request: Request) -> Response:
    """Send what a background command wrote, from the byte ``cursor`` on."""
    execution = _book(request).find(request.path_params["id"], "INVALID_REQUEST_BODY")
    if execution.log is None:
        raise bad_request(f"The command {execution.id} ran in the foreground and has no log.")
    cursor = request.query_params.get("cursor", "")
    start = int(cursor) if cursor.isascii() and cursor.isdigit() and len(cursor) < 20 else 0
    try:
        file, end = execution.log.open()
    except OSError:
        raise Refusal(404, "FILE_NOT_FOUND", "The log has been removed.") from None
    start = min(start, end)
    headers = {LOGS_CURSOR_HEADER: str(end), "Content-Length": str(end - start)}
    pieces = in_threads(file, read_pieces(file, start, end))
    return StreamingResponse(pieces, media_type="text/plain; charset=utf-8", headers=headers)
