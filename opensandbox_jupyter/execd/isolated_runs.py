"""What the daemon of an isolated session is asked: to run code, and how that goes."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from opensandbox_jupyter.constants import ISOLATED_CURSOR_HEADER, LOGS_CURSOR_HEADER
from opensandbox_jupyter.execd import commands, events
from opensandbox_jupyter.execd.environment import command_env
from opensandbox_jupyter.execd.errors import Refusal, bad_request
from opensandbox_jupyter.execd.executions import Book, Execution
from opensandbox_jupyter.execd.processes import User
from opensandbox_jupyter.execd.requests import read_json, settings_of, when_left
from opensandbox_jupyter.execd.settings import Settings
from opensandbox_jupyter.execd.streams import CommandStream, Output

__all__ = ["ROUTES"]

_LOG_LIMIT = 16 * 1024 * 1024
_MOST_AT_ONCE = 64
_LONGEST_SECONDS = 365 * 86_400


class RunRequest(msgspec.Struct):
    """The body of a run; ``timeout_seconds`` counts for one in the foreground only."""

    code: str
    envs: dict[str, str] | None = None
    timeout_seconds: int | None = None
    background: bool | None = None

    def check(self) -> None:
        """Refuse what makes no sense. Raises: Refusal 400."""
        if not self.code.strip() or "\0" in self.code:
            raise bad_request("The code is empty, or holds a NUL character.")
        if self.timeout_seconds is not None and not 0 <= self.timeout_seconds <= _LONGEST_SECONDS:
            raise bad_request(f"timeout_seconds must be between 0 and {_LONGEST_SECONDS}.")


class _RunStream(CommandStream):
    """Its stream names no execution, so that who leaves cannot end it: it is ended then."""

    goes_on = False

    def _leave(self) -> None:
        run = self._execution
        assert isinstance(run, Execution)
        if self.goes_on:
            run.discard()
        else:
            run.abandon()

    def _first(self) -> bytes:
        return events.ping()

    def _last(self) -> bytes:
        run = self._execution
        if run.process is None or run.exit_code:
            value = str(run.exit_code) if run.process else run.error or ""
            return events.failed(value, [run.error or ""], "ExitError")
        return events.complete()


async def _run(request: Request) -> ASGIApp:
    wanted = await read_json(request, RunRequest)
    wanted.check()
    book = request.app.state.book
    assert isinstance(book, Book)
    if book.running >= _MOST_AT_ONCE:
        message = f"{_MOST_AT_ONCE} runs are under way in this session; wait for one."
        raise Refusal(409, "RUNTIME_ERROR", message)
    settings = settings_of(request)
    env = command_env(settings.env, None, wanted.envs)
    shell = shutil.which("bash", path=env.get("PATH", os.defpath)) or "sh"
    run = Execution(wanted.code, [shell, "-c", wanted.code])
    if wanted.background:
        return _start_logged(settings, book, run, env)
    output = Output(run)
    with suppress(OSError, ValueError):  # the stream says it, as its last event
        run.start(
            {"stdout": output.feed_stdout},
            cwd=settings.cwd,
            env=env,
            user=User(None, None),
            timeout=wanted.timeout_seconds,
        )
    book.add(run)
    stream = _RunStream(run, output, lines=True)
    stream.goes_on = when_left(request) == "go-on"
    return stream


def _start_logged(settings: Settings, book: Book, run: Execution, env: dict[str, str]) -> Response:
    run.log = book.new_log(run, _LOG_LIMIT)
    try:
        run.start({"output": run.log.write}, cwd=settings.cwd, env=env, user=User(None, None))
    except (OSError, ValueError):
        run.log.close()
    book.add(run)
    return JSONResponse(_state(settings.sandbox_id, run), 202)


async def _status(request: Request) -> Response:
    book = request.app.state.book
    run = book.find(request.path_params["id"], "NOT_FOUND")
    return JSONResponse(_state(settings_of(request).sandbox_id, run))


def _state(session_id: str, run: Execution) -> dict[str, object]:
    state = run.status()
    del state["content"]
    return {"session_id": session_id, "run_id": state.pop("id"), **state}


async def _logs(request: Request) -> Response:
    answer = await commands.logs(request)
    answer.headers[ISOLATED_CURSOR_HEADER] = answer.headers[LOGS_CURSOR_HEADER]
    return answer


async def _running(request: Request) -> Response:
    return JSONResponse({"running": request.app.state.book.running})


ROUTES = [
    Route("/run", _run, methods=["POST"]),
    Route("/runs", _running),
    Route("/runs/{id}", _status),
    Route("/runs/{id}/logs", _logs),
]
