"""``/code``: contexts, and code that runs in them.

Unlike the original, a context that is busy says so before its answer begins, and what code shows
on its way arrives as a result like its last value.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from opensandbox_jupyter.execd.contexts import Contexts
from opensandbox_jupyter.execd.errors import Refusal, bad_request
from opensandbox_jupyter.execd.interpreters import CodeStream, Interpreter
from opensandbox_jupyter.execd.requests import (
    absolute,
    in_chunks,
    is_directory,
    read_json,
    settings_of,
    when_left,
)
from opensandbox_jupyter.execd.streams import CommandStream, Output

__all__ = ["ROUTES", "CodeRequest", "ContextRequest", "contexts_of"]

_LOST = b"The interpreter had ended; this run begins with a new one.\n"
_LONGEST = 8 << 20
_LONGEST_OF_BASH = 1 << 20


class ContextRequest(msgspec.Struct):
    """The body of ``POST /code/context``."""

    language: str = "python"
    cwd: str | None = None


class _Where(msgspec.Struct):
    id: str | None = None
    language: str | None = None


class CodeRequest(msgspec.Struct):
    """The body of ``POST /code``; without a context it runs in the usual one of its language."""

    code: str
    context: _Where | None = None

    def check(self) -> None:
        """Refuse what makes no sense. Raises: Refusal 400."""
        if not self.code.strip():
            raise bad_request("The code is empty.")
        if len(self.code) > _LONGEST:
            raise bad_request(f"Code is at most {_LONGEST} characters long.")


def contexts_of(request: Request) -> Contexts:
    """Return the daemon's contexts."""
    contexts = request.app.state.contexts
    assert isinstance(contexts, Contexts)
    return contexts


async def _make(request: Request) -> Response:
    wanted = await read_json(request, ContextRequest)
    cwd = absolute(request, wanted.cwd) if wanted.cwd else settings_of(request).cwd
    if not is_directory(cwd):
        raise bad_request(f"The working directory {cwd} does not exist.")
    return JSONResponse(contexts_of(request).make(wanted.language, cwd).view())


async def _list(request: Request) -> Response:
    found = contexts_of(request).all(request.query_params.get("language"))
    return JSONResponse([context.view() for context in found])


async def _get(request: Request) -> Response:
    return JSONResponse(contexts_of(request).find(request.path_params["id"]).view())


async def _delete(request: Request) -> Response:
    contexts = contexts_of(request)
    await contexts.delete(contexts.find(request.path_params["id"]))
    return Response()


async def _delete_all(request: Request) -> Response:
    language = request.query_params.get("language")
    if not language:
        raise Refusal(400, "MISSING_QUERY", "The parameter language is missing.")
    contexts = contexts_of(request)
    for context in contexts.all(language):
        await contexts.delete(context)
    return Response()


async def _run(request: Request) -> ASGIApp:
    wanted = await read_json(request, CodeRequest)
    wanted.check()
    contexts, where = contexts_of(request), wanted.context or _Where()
    if where.id:
        context = contexts.find(where.id)
    else:
        context = contexts.usual(where.language or "python", settings_of(request).cwd)
    if where.language not in (None, "", context.language):
        raise bad_request(f"The context {context.id} is one of {context.language}.")
    is_new = context.resident is None
    resident = contexts.wake(context)
    if resident.turn is None:
        await resident.settled()
    if resident.turn is not None:
        raise Refusal(409, "RUNTIME_ERROR", "The context is busy: code already runs in it.")

    lines = not in_chunks(request)
    if not isinstance(resident, Interpreter):
        if len(wanted.code.encode("utf-8", "replace")) > _LONGEST_OF_BASH or "\0" in wanted.code:
            raise bad_request("The code is too long, or holds a NUL character.")
        shell_turn = resident.run(wanted.code, None)
        output = Output(shell_turn)
        shell_turn.feeds = {"stdout": output.feed_stdout, "stderr": output.feed_stderr}
        shell_turn.goes_on = when_left(request) == "go-on"
        return CommandStream(shell_turn, output, lines=lines)
    turn = resident.run(wanted.code)
    output = Output(turn)
    turn.feeds = {"stdout": output.feed_stdout, "stderr": output.feed_stderr}
    if is_new and context.has_run:
        output.feed_stderr(_LOST)
    context.has_run = True
    return CodeStream(turn, output, lines=lines)


async def _interrupt(request: Request) -> Response:
    context_id = request.query_params.get("id")
    if not context_id:
        raise Refusal(400, "MISSING_QUERY", "The parameter id is missing.")
    contexts = contexts_of(request)
    await contexts.interrupt(contexts.find(context_id))
    return Response()


ROUTES = [
    Route("/code", _run, methods=["POST"]),
    Route("/code", _interrupt, methods=["DELETE"]),
    Route("/code/context", _make, methods=["POST"]),
    Route("/code/contexts", _list),
    Route("/code/contexts", _delete_all, methods=["DELETE"]),
    Route("/code/contexts/{id}", _get),
    Route("/code/contexts/{id}", _delete, methods=["DELETE"]),
]
