"""Hooks: the command before the entrypoint, and those that run again and again.

None outlives its time or the sandbox. What a pause made late is left out, not made up for.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from opensandbox_jupyter.execd.environment import command_env
from opensandbox_jupyter.execd.errors import Refusal
from opensandbox_jupyter.execd.executions import Book, Execution
from opensandbox_jupyter.execd.processes import User
from opensandbox_jupyter.execd.settings import Settings
from opensandbox_jupyter.execd.way_out import base_env
from opensandbox_jupyter.hosting.hooks import Hook, PeriodicHook
from opensandbox_jupyter.hosting.schedules import Schedule

__all__ = ["ROUTES", "HookRuns", "log_of"]

_PRE_START = "preStart"
_LATE_SECONDS = 30.0
_LOOK_AGAIN = 30.0
_LOG_BYTES = 1 << 20
_TOLD_BYTES = 2000
_MOST_RUNS = 100


class HookRuns:
    """Runs hooks and remembers how they went. ``settings`` returns those of now."""

    def __init__(self, settings: Callable[[], Settings], book: Book) -> None:
        self._settings = settings
        self._book = book
        self._tasks: list[asyncio.Task[None]] = []
        self.runs: deque[tuple[float, str, str]] = deque(maxlen=_MOST_RUNS)
        """The last ends: when, whose, and what was said of it."""

    async def before_start(self, hook: Hook) -> None:
        """Run the hook before the entrypoint. Raises: Refusal 422 when it fails."""
        execution = await self._run(log_of(None), _PRE_START, hook)
        if execution.exit_code != 0:
            said = _last_words(execution)
            message = f"The preStart hook failed: {execution.error}.{said}"
            raise Refusal(422, "HOOK_FAILED", message)

    def begin(self, hooks: list[PeriodicHook]) -> None:
        """Run these from now on, each by its schedule."""
        for number, hook in enumerate(hooks):
            self._tasks.append(asyncio.ensure_future(self._repeat(number, hook)))

    async def _repeat(self, number: int, hook: PeriodicHook) -> None:
        schedule = Schedule(hook.schedule)
        running: asyncio.Future[Execution] | None = None
        while (moment := schedule.after(datetime.now())) is not None:
            late = await _reach(moment.timestamp())
            if late > _LATE_SECONDS:
                continue
            if running is not None and not running.done():
                self._note(hook.name, "left out, because the last one still runs")
                continue
            running = asyncio.ensure_future(self._run(log_of(number), hook.name, hook))

    async def _run(self, log: str, name: str, hook: Hook | PeriodicHook) -> Execution:
        """Run ``hook`` to its end and return how it went."""
        settings = self._settings()
        ended = asyncio.Event()
        execution = Execution(" ".join(hook.command), hook.command, log)
        execution.on_change = ended.set
        self._book.forget(log)
        try:
            execution.log = self._book.new_log(execution, _LOG_BYTES)
            self._book.add(execution)
            execution.start(
                {"output": execution.log.write},
                cwd=settings.cwd,
                env=command_env(base_env(settings), settings.env_file, None),
                user=User(None, None),
                timeout=hook.timeout_seconds,
            )
        except (OSError, ValueError) as exc:
            execution.error = execution.error or str(exc)
            execution.exit_code = execution.exit_code or 255
            if execution.log is not None:
                execution.log.close()
        else:
            await ended.wait()
        self._note(name, _summary(execution, hook.timeout_seconds))
        return execution

    def _note(self, name: str, text: str) -> None:
        self.runs.append((time.time(), name, text))


def log_of(number: int | None) -> str:
    """Return the id under which the output of a hook is kept; ``None`` is the preStart hook."""
    return _PRE_START if number is None else f"periodic-{number}"


def _summary(execution: Execution, limit: float) -> str:
    if execution.exit_code == 0:
        return f"ended well after {execution.milliseconds} ms"
    if execution.milliseconds >= limit * 1000:
        execution.error = f"it ran longer than {limit} s and was ended"
    return f"failed: {execution.error}"


def _last_words(execution: Execution) -> str:
    if execution.log is None:
        return ""
    try:
        file, size = execution.log.open()
        with file:
            file.seek(max(0, size - _TOLD_BYTES))
            said = file.read(_TOLD_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return f" It said: {said}" if said else ""


async def _reach(moment: float) -> float:
    """Wait for a moment, by the clock on the wall, and return how late it is, in seconds."""
    while (left := moment - time.time()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(min(left, _LOOK_AGAIN))
    return -left


async def _list(request: Request) -> Response:
    runs: HookRuns = request.app.state.hooks
    return JSONResponse({"runs": list(runs.runs)})


ROUTES = [Route("/internal/hooks", _list)]
