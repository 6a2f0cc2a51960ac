"""What happened to a sandbox, and what it said: the end of its logs and of its events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from opensandbox_jupyter.server.clock import stamp
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.inside import fetch_end
from opensandbox_jupyter.server.records import Record
from opensandbox_jupyter.server.sandboxes import Sandboxes

__all__ = ["diagnostics_routes"]

_LINES, _EVENTS = 100, 50
_MOST_BYTES = 1 << 20
_SECONDS = 5.0
_LOG = "/command/entrypoint/logs"
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
        return _answer(record, "events", scope, self._events(record), count, [])

    async def inspect(self, request: Request) -> Response:
        """The state of the sandbox as text."""
        return _legacy(self._state(self._record(request)))

    async def summary(self, request: Request) -> Response:
        """All of it as text."""
        record = self._record(request)
        tail = _number(request, "tail", 10_000, 50)
        limit = _number(request, "event_limit", 500, 20)
        lines, warnings = await self._lines(record)
        parts = [
            *self._state(record), "", "events:", *self._events(record)[-limit:],
            "", "logs:", *lines[-tail:], *warnings,
        ]  # fmt: skip
        return _legacy(parts)

    def _record(self, request: Request) -> Record:
        return self._sandboxes.get(request.path_params["id"])

    async def _lines(self, record: Record) -> tuple[list[str], list[str]]:
        """Return all lines that there are, and what could not be read."""
        said, warnings = b"", []
        try:
            socket_path, token = self._sandboxes.entry(record.id).way_in()
            reading = fetch_end(socket_path, token, _LOG, _MOST_BYTES)
            said = await asyncio.wait_for(reading, _SECONDS)
        except Refusal as refusal:
            warnings.append(f"The entrypoint's output cannot be read now. {refusal.message}")
        except (OSError, ValueError, asyncio.TimeoutError):
            warnings.append("The entrypoint's output could not be read.")
        lines = said.decode("utf-8", "replace").splitlines()
        words = self._sandboxes.entry(record.id).last_words.splitlines()
        return [*lines, *(f"execd: {line.removeprefix('execd: ')}" for line in words)], warnings

    def _events(self, record: Record) -> list[str]:
        found = [f"{stamp(at)} {reason} {text}" for at, reason, text in record.events]
        killed = self._sandboxes.entry(record.id).out_of_memory_kills
        if killed:
            found.append(f"OUT_OF_MEMORY {killed} processes were ended: the memory was full")
        return [_plain(line) for line in found]

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
