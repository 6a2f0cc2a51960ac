"""``/v1/isolated``: sessions behind walls of their own, inside the sandbox."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import h11
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER
from opensandbox_jupyter.execd.enclosures import Enclosure, Enclosures
from opensandbox_jupyter.execd.environment import command_env
from opensandbox_jupyter.execd.errors import Refusal
from opensandbox_jupyter.execd.requests import read_json, settings_of
from opensandbox_jupyter.execd.settings import Settings
from opensandbox_jupyter.execd.walls import SessionRequest
from opensandbox_jupyter.execd.way_out import base_env
from opensandbox_jupyter.hosting.exchange import Exchange, Headers, end_to_end

__all__ = ["ROUTES"]

_BASE = "/v1/isolated"
_SESSION = f"{_BASE}/session/{{id}}"
_TOKEN = EXECD_TOKEN_HEADER.lower().encode()


def _enclosures(request: Request) -> Enclosures:
    enclosures = request.app.state.enclosures
    assert isinstance(enclosures, Enclosures)
    return enclosures


async def _create(request: Request) -> Response:
    enclosures = _enclosures(request)
    if enclosures.why_not:
        raise Refusal(503, "SERVICE_UNAVAILABLE", enclosures.why_not)
    wanted = await read_json(request, SessionRequest)
    wanted.check()
    enclosure = await enclosures.open(wanted, partial(_inside, settings_of(request), wanted))
    return JSONResponse(_state(enclosure), 201)


def _inside(settings: Settings, wanted: SessionRequest, session_id: str) -> Settings:
    base = base_env(settings) if wanted.share_net else settings.env
    return msgspec.structs.replace(
        settings,
        sandbox_id=session_id,
        cwd=wanted.mounts[0].path,
        env=wanted.passed(command_env(base, settings.env_file, None)),
        env_file=None,
        entrypoint=None,
        way_out=None,
        nesting=None,
        is_nested=True,
        state_dir=None,
    )


def _state(enclosure: Enclosure) -> dict[str, Any]:
    wanted = enclosure.wanted
    echo = msgspec.to_builtins(wanted)
    effective = {"profile": wanted.profile or "strict", "share_net": bool(wanted.share_net)}
    idle = {"idle_timeout_seconds": wanted.idle_seconds}
    return {**echo, **effective, **idle, **enclosure.summary()}


async def _list(request: Request) -> Response:
    return JSONResponse({"sessions": [one.summary() for one in _enclosures(request).all()]})


async def _get(request: Request) -> Response:
    return JSONResponse(_state(_enclosures(request).find(request.path_params["id"])))


async def _delete(request: Request) -> Response:
    await _enclosures(request).delete(request.path_params["id"])
    return Response(status_code=204)


async def _not_there(_: Request) -> Response:
    message = "What a session changes in a copy can be neither committed nor compared."
    raise Refusal(503, "NOT_SUPPORTED", message)


async def _capabilities(request: Request) -> Response:
    enclosures = _enclosures(request)
    nesting, why_not = enclosures.nesting, enclosures.why_not
    found: dict[str, Any] = {
        "available": not why_not,
        "message": why_not,
        "setpriv_available": not why_not,
        "userns_available": not why_not,
        "commit_supported": False,
        "diff_supported": False,
        "hardening": {
            "init_mode": "none",
            "signal_shield": False,
            "cap_drop": {"state": "active"},
            "seccomp": {"state": "active"},
            "landlock": {"state": "disabled", "message": "Mounts confine a session's files."},
            "ebpf": {"state": "unsupported", "message": "Nothing observes a session."},
        },
    }
    if nesting is not None:
        found |= {"isolator": "bubblewrap", "version": nesting.version}
    return JSONResponse(found)


class _PassedOn:
    """An ASGI application that is the daemon of a session."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and count it as use."""
        session_id = scope["path_params"]["id"]
        enclosure = scope["app"].state.enclosures.find(session_id)
        path = scope["raw_path"].partition(b"?")[0].split(b"/", 5)[-1]
        query = scope["query_string"]
        target = b"/" + path + (b"?" + query if query else b"")
        headers = [(name, value) for name, value in scope["headers"] if name != _TOKEN]
        headers.append((_TOKEN, enclosure.token.encode()))
        exchange = Exchange(enclosure.connect, _answer)
        enclosure.active += 1
        if path == b"run":
            enclosure.last_run_at = time.time()
        try:
            await exchange.run(scope["method"], target, headers, receive, send)
        except (OSError, h11.ProtocolError) as exc:
            if not exchange.answering:
                message = f"The session {session_id} has ended."
                raise Refusal(404, "NOT_FOUND", message) from exc
        finally:
            enclosure.active -= 1
            enclosure.touch()
            exchange.close()


def _answer(response: h11.Response) -> Headers:
    return end_to_end(response.headers, _TOKEN)


_PASSED = ("run", "runs/{run}", "runs/{run}/logs", "files{rest:path}", "directories{rest:path}")

ROUTES = [
    Route(f"{_BASE}/session", _create, methods=["POST"]),
    Route(f"{_BASE}/sessions", _list),
    Route(f"{_BASE}/capabilities", _capabilities),
    Route(_SESSION, _get),
    Route(_SESSION, _delete, methods=["DELETE"]),
    Route(f"{_SESSION}/commit", _not_there, methods=["POST"]),
    Route(f"{_SESSION}/diff", _not_there),
    *(Route(f"{_SESSION}/{path}", _PassedOn()) for path in _PASSED),
]
