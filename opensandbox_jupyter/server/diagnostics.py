"""What happened to a sandbox, and what it said: the end of its logs and of its events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from opensandbox_jupyter.hosting.hooks import Hooks
from opensandbox_jupyter.server.clock import stamp
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.inside import fetch_end, fetch_runs
from opensandbox_jupyter.server.records import Record
from opensandbox_jupyter.server.sandboxes import Sandboxes

__all__ = ["diagnostics_routes"]

_LINES, _EVENTS = 100, 50
_MOST_BYTES = 1 << 20
_SECONDS = 5.0
_TYPE = "text/plain; charset=utf-8"
_Handler = Callable[[Request], Awaitable[Response]]


def diagnostics_routes(sandboxes: Sandboxes) -> list[Route]:
    """Return the routes below ``/sandboxes/{id}/diagnostics``."""
    calls = _Calls(sandboxes)
    return [
        Route(f"/sandboxes/{{id}}/diagnostics/{name}", handler)
        for name, handler in {
            "logs": calls.logs,
            "events": calls.events,
            "inspect": calls.inspect,
            "summary": calls.summary,
        }.items()
    ]


class _Calls:
    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    async def logs(self, request: Request) -> Response:
        """The last lines of the entrypoint's output and of execd's own."""
        record = self._record(request)
        scope = _scope(request, "container")
        count = _number(request, "tail", 10_000, _LINES) if scope is None else _LINES
        lines, warnings = await self._lines(record)
        return _answer(record, "logs", scope, lines, count, warnings)

    async def events(self, request: Request) -> Response:
        """The last changes of state, and what the kernel killed."""
        record = self._record(request)
        scope = _scope(request, "runtime")
        count = _number(request, "limit", 500, _EVENTS) if scope is None else _EVENTS
        lines, warnings = await self._events(record)
        return _answer(record, "events", scope, lines, count, warnings)

    async def inspect(self, request: Request) -> Response:
        """The state of the sandbox as text."""
        return _legacy(self._state(self._record(request)))

    async def summary(self, request: Request) -> Response:
        """All of it as text."""
        record = self._record(request)
        tail = _number(request, "tail", 10_000, 50)
        limit = _number(request, "event_limit", 500, 20)
        lines, warnings = await self._lines(record)
        events, _ = await self._events(record)
        parts = [
            *self._state(record), "", "events:", *events[-limit:],
            "", "logs:", *lines[-tail:], *warnings,
        ]  # fmt: skip
        return _legacy(parts)

    def _record(self, request: Request) -> Record:
        return self._sandboxes.get(request.path_params["id"])

    async def _lines(self, record: Record) -> tuple[list[str], list[str]]:
        """Return all lines that there are, and what could not be read."""
        lines, warnings = [], []
        try:
            way_in = self._sandboxes.entry(record.id).way_in()
            for name, log in _logs(record):
                reading = fetch_end(*way_in, f"/command/{log}/logs", _MOST_BYTES)
                said = await asyncio.wait_for(reading, _SECONDS)
                found = said.decode("utf-8", "replace").splitlines()
                lines += [f"{name}{line}" for line in found]
        except Refusal as refusal:
            warnings.append(f"The entrypoint's output cannot be read now. {refusal.message}")
        except (OSError, ValueError, asyncio.TimeoutError):
            warnings.append("The entrypoint's output could not be read.")
        words = self._sandboxes.entry(record.id).last_words.splitlines()
        return [*lines, *(f"execd: {line.removeprefix('execd: ')}" for line in words)], warnings

    async def _events(self, record: Record) -> tuple[list[str], list[str]]:
        """Return all events by time, and what could not be asked for."""
        found = [*record.events]
        warnings = []
        if record.hooks:
            try:
                way_in = self._sandboxes.entry(record.id).way_in()
                runs = await asyncio.wait_for(fetch_runs(*way_in), _SECONDS)
                found += [(at, "HOOK", f"{name[:128]} {text[:1000]}") for at, name, text in runs]
            except Refusal as refusal:
                warnings.append(f"How hooks went cannot be asked now. {refusal.message}")
            except (OSError, ValueError, asyncio.TimeoutError):
                warnings.append("How hooks went could not be asked.")
        lines = [f"{stamp(at)} {reason} {text}" for at, reason, text in sorted(found)]
        killed = self._sandboxes.entry(record.id).out_of_memory_kills
        if killed:
            lines.append(f"OUT_OF_MEMORY {killed} processes were ended: the memory was full")
        return [_plain(line) for line in lines], warnings

    def _state(self, record: Record) -> list[str]:
        memory = "unlimited" if record.memory is None else f"{record.memory} bytes"
        facts = {
            "sandbox": record.id,
            "image": record.image,
            "state": f"{record.state} ({record.reason})",
            "message": record.message,
            "created": stamp(record.created),
            "expires": "never" if record.expires is None else stamp(record.expires),
            "cpu": "unlimited" if record.cpu is None else f"{record.cpu} cores",
            "memory": memory,
        }
        return [_plain(f"{name}: {value}") for name, value in facts.items()]


def _logs(record: Record) -> Iterator[tuple[str, str]]:
    """Yield the logs of what the server itself let run: how lines begin, and the id inside."""
    hooks = record.hooks or Hooks()
    if hooks.pre_start is not None:
        yield "preStart: ", "preStart"
    yield "", "entrypoint"
    for number, hook in enumerate(hooks.periodic or []):
        yield f"{_plain(hook.name)}: ", f"periodic-{number}"


def _scope(request: Request, own: str) -> str | None:
    """Return the scope, ``None`` in the old form without one. Raises: Refusal 400."""
    scope = request.query_params.get("scope")
    if scope not in {None, own, "all"}:
        raise Refusal(
            400, "DIAGNOSTICS_SCOPE_UNSUPPORTED", f"The scopes are {own} and all, not {scope!r}."
        )
    return scope


def _number(request: Request, name: str, most: int, usual: int) -> int:
    text = request.query_params.get(name, str(usual))
    number = int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0
    if not 1 <= number <= most:
        raise Refusal(
            400, "SANDBOX::INVALID_PARAMETER", f"`{name}` is a whole number from 1 to {most}."
        )
    return number


def _answer(
    record: Record, kind: str, scope: str | None, lines: list[str], count: int, warnings: list[str]
) -> Response:
    kept = lines[-count:]
    if scope is None:
        return _legacy(kept)
    content = "".join(f"{line}\n" for line in kept)
    size = len(content.encode())
    view: dict[str, object] = {
        "sandboxId": record.id,
        "scope": scope,
        "kind": kind,
        "delivery": "inline",
        "contentType": _TYPE,
        "content": content,
        "contentLength": size,
        "truncated": len(kept) < len(lines),
    }
    if warnings:
        view["warnings"] = warnings
    return Response(msgspec.json.encode(view), media_type="application/json")


def _legacy(lines: list[str]) -> Response:
    return PlainTextResponse(
        "".join(f"{line}\n" for line in lines), headers={"Deprecation": "true"}
    )


def _plain(text: str) -> str:
    """Return ``text`` as one line."""
    return " ".join(text.split())
