"""The network policy of a sandbox as clients read and change it.

The original has a sidecar in the sandbox for that, on port 18080. Here the server itself answers,
below ``/egress/``: nothing inside a sandbox has a say in what it may reach.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from opensandbox_jupyter.egress.names import Unreadable
from opensandbox_jupyter.egress.policy import DENY_ALL, NetworkPolicy, TooManyRules, load, to_rules
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.sandboxes import Sandboxes
from opensandbox_jupyter.server.vault_calls import PATH, answer_vault

__all__ = [
    "EGRESS_PORT",
    "PREFIX",
    "TOKEN_HEADER",
    "answer_sidecar",
    "change_policy",
    "sidecar_routes",
]

EGRESS_PORT = 18_080
PREFIX = "/egress/"
TOKEN_HEADER = "OPENSANDBOX-EGRESS-AUTH"  # noqa: S105
_BODY_SECONDS = 30.0
_EVERY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def change_policy(sandboxes: Sandboxes, sandbox_id: str, method: str, body: bytes) -> bytes:
    """Read or change a sandbox's policy and return the answer, JSON.

    Raises:
        Refusal: there is no such sandbox, or the request is wrong; nothing changed.
    """
    now = sandboxes.network_policy(sandbox_id)
    answer: dict[str, Any] = {"status": "ok"}
    if method == "GET":
        answer["policy"] = now
    else:
        try:
            wanted = _changed(now, method, body)
        except TooManyRules as error:
            raise Refusal(413, "SANDBOX::INVALID_PARAMETER", str(error)) from error
        except ValueError as error:
            raise Refusal(400, "SANDBOX::INVALID_PARAMETER", str(error)) from error
        if wanted == now and method == "DELETE":
            answer["reason"] = "no matching targets found"
        sandboxes.set_network_policy(sandbox_id, wanted)
        now = wanted
    return msgspec.json.encode({**answer, "mode": now.mode, "enforcementMode": "proxy"})


def _changed(now: NetworkPolicy, method: str, body: bytes) -> NetworkPolicy:
    if not body.strip() and method in {"POST", "PUT"}:
        return DENY_ALL
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"The request is no JSON: {error}.") from error
    if method in {"POST", "PUT"}:
        return load(document)
    if not isinstance(document, list) or not document:
        raise Unreadable("The request must be a JSON array with something in it.")
    if method == "PATCH":
        return now.with_rules(to_rules(document))
    if not all(isinstance(target, str) for target in document):
        raise Unreadable("Name the targets as strings.")
    return now.without(document)


def sidecar_routes(sandboxes: Sandboxes) -> list[BaseRoute]:
    """Return the routes that an endpoint for port 18080 leads to."""

    async def answer(request: Request) -> Response:
        sandbox_id, _, rest = str(request.path_params["rest"]).partition("/")
        return await answer_sidecar(sandboxes, request, sandbox_id, rest)

    return [Route(f"{PREFIX}{{rest:path}}", answer, methods=_EVERY)]


async def answer_sidecar(
    sandboxes: Sandboxes, request: Request, sandbox_id: str, rest: str
) -> Response:
    """Answer what a client asks a sandbox's sidecar for at ``/rest``. Errors are plain text."""
    try:
        return await _answer(sandboxes, request, sandbox_id, rest)
    except Refusal as refusal:
        return PlainTextResponse(f"{refusal.message}\n", refusal.status)


async def _answer(sandboxes: Sandboxes, request: Request, sandbox_id: str, rest: str) -> Response:
    _check_token(sandboxes, sandbox_id, request)
    if rest == "healthz":
        return PlainTextResponse("ok")
    if rest == PATH or rest.startswith(f"{PATH}/"):
        return await answer_vault(sandboxes.vault(sandbox_id), request, rest.removeprefix(PATH))
    if rest != "policy":
        raise Refusal(404, "", "There are only /policy, /credential-vault and /healthz here.")
    if request.method not in _METHODS:
        headers = {"allow": ", ".join(_METHODS)}
        return PlainTextResponse("The policy does not take that.\n", 405, headers)
    try:
        body = await asyncio.wait_for(request.body(), _BODY_SECONDS)
    except asyncio.TimeoutError as error:
        raise Refusal(408, "", "The request did not end.") from error
    answer = change_policy(sandboxes, sandbox_id, request.method, body)
    return Response(answer, media_type="application/json")


def _check_token(sandboxes: Sandboxes, sandbox_id: str, request: Request) -> None:
    """Refuse who has not this sandbox's token; a sandbox that is not there has none."""
    try:
        token = sandboxes.get(sandbox_id).egress_token
    except Refusal:
        token = ""
    given = request.headers.getlist(TOKEN_HEADER)
    is_right = len(given) == 1 and hmac.compare_digest(given[0].encode(), token.encode())
    if not token or not is_right:
        raise Refusal(401, "", f"The header {TOKEN_HEADER} does not carry the sandbox's token.")
