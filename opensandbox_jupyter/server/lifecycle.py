"""The routes of the lifecycle API, at ``/`` and at ``/v1``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from opensandbox_jupyter import __version__
from opensandbox_jupyter.constants import DEFAULT_EXECD_PORT, EXECD_TOKEN_HEADER
from opensandbox_jupyter.runtime_file import CHALLENGE_HEADER, PROOF_HEADER
from opensandbox_jupyter.server.answers import json_response, page_of
from opensandbox_jupyter.server.clock import stamp
from opensandbox_jupyter.server.errors import Refusal, unsupported
from opensandbox_jupyter.server.labels import check_labels
from opensandbox_jupyter.server.openapi import OPENAPI_ROUTE
from opensandbox_jupyter.server.records import Record
from opensandbox_jupyter.server.requests import CreateSandbox, ListQuery, decode, parse_renewal
from opensandbox_jupyter.server.sandboxes import Sandboxes
from opensandbox_jupyter.server.sidecar import (
    EGRESS_PORT,
    PREFIX,
    TOKEN_HEADER,
    change_policy,
    sidecar_routes,
)
from opensandbox_jupyter.server.signing import Signing
from opensandbox_jupyter.server.templates import Templates

__all__ = ["json_body", "routes"]

_BODY_SECONDS = 30.0
_NOT_YET = {
    "pools": ("/pools", "/pools/{rest:path}"),
}

_Handler = Callable[[Request], Awaitable[Response]]


def routes(
    sandboxes: Sandboxes,
    templates: Templates,
    signing: Signing,
    more: Sequence[BaseRoute],
    prove: Callable[[str], str],
) -> list[BaseRoute]:
    """Return every route, those of other rooms, ``more``, included.

    ``prove`` answers a challenge, see :mod:`runtime_file`.
    """
    calls = _Calls(sandboxes, templates, signing)

    async def health(request: Request) -> Response:
        challenge = request.headers.get(CHALLENGE_HEADER, "")[:128]
        return json_response({"status": "healthy"}, headers={PROOF_HEADER: prove(challenge)})

    api = [*_api_routes(calls), *more]
    versioned = [*api, Route("/metrics/events", calls.take_event, methods=["POST"])]
    return [
        Route("/health", health),
        Route("/version", _version),
        OPENAPI_ROUTE,
        *sidecar_routes(sandboxes),
        Mount("/v1", routes=versioned),
        *api,
    ]


def _api_routes(calls: _Calls) -> list[BaseRoute]:
    found: list[BaseRoute] = [
        Route("/sandboxes", calls.create, methods=["POST"]),
        Route("/sandboxes", calls.list),
        Route("/sandboxes/{id}", calls.get),
        Route("/sandboxes/{id}", calls.delete, methods=["DELETE"]),
        Route("/sandboxes/{id}/metadata", calls.patch_metadata, methods=["PATCH"]),
        Route("/sandboxes/{id}/pause", calls.pause, methods=["POST"]),
        Route("/sandboxes/{id}/resume", calls.resume, methods=["POST"]),
        Route("/sandboxes/{id}/renew-expiration", calls.renew, methods=["POST"]),
        Route("/sandboxes/{id}/endpoints/{port}", calls.endpoint),
        Route(
            "/sandboxes/{id}/networkpolicy",
            calls.network_policy,
            methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        ),
    ]
    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    for what, paths in _NOT_YET.items():
        found += [Route(path, _refuser(what), methods=every) for path in paths]
    return found


class _Calls:
    """What each route does."""

    def __init__(self, sandboxes: Sandboxes, templates: Templates, signing: Signing) -> None:
        self._sandboxes = sandboxes
        self._templates = templates
        self._signing = signing

    async def create(self, request: Request) -> Response:
        wanted = decode(await json_body(request), CreateSandbox)
        record = await self._sandboxes.create(self._templates.expand(wanted))
        if await request.is_disconnected():  # nobody would ever know its id
            await self._sandboxes.delete(record.id)
        answer = _view(record)
        answer.pop("image", None)
        return json_response(answer, 202)

    async def list(self, request: Request) -> Response:
        query = ListQuery(request.query_params.multi_items())
        found = [record for record in self._sandboxes.records() if query.matches(record)]
        return json_response(page_of(request, found, _view))

    async def get(self, request: Request) -> Response:
        return json_response(_view(self._sandboxes.get(_id(request))))

    async def delete(self, request: Request) -> Response:
        await self._sandboxes.delete(_id(request))
        return Response(status_code=204)

    async def patch_metadata(self, request: Request) -> Response:
        patch = decode(await json_body(request), dict[str, str | None])
        check_labels(patch, "INVALID_METADATA_LABEL")
        return json_response(_view(self._sandboxes.patch_metadata(_id(request), patch)))

    async def pause(self, request: Request) -> Response:
        await self._sandboxes.pause(_id(request))
        return Response(status_code=202)

    async def resume(self, request: Request) -> Response:
        await self._sandboxes.resume(_id(request))
        return Response(status_code=202)

    async def renew(self, request: Request) -> Response:
        self._sandboxes.get(_id(request))
        record = self._sandboxes.renew(_id(request), parse_renewal(await json_body(request)))
        assert record.expires is not None
        return json_response({"expiresAt": stamp(record.expires)})

    async def endpoint(self, request: Request) -> Response:
        text = request.path_params["port"]
        port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
        self._sandboxes.get(_id(request))
        if not 1 <= port <= 65_535:
            raise Refusal(
                400, "DOCKER::INVALID_PORT", f"A port is a number from 1 to 65535, not {text!r}."
            )
        if _flag(request, "use_server_proxy"):
            return self._proxied(request, port)
        if "expires" in request.query_params:
            return self._signed(request, port)
        if port == EGRESS_PORT:
            token = self._sandboxes.get(_id(request)).egress_token
            endpoint = f"{request.headers['host']}{PREFIX}{_id(request)}"
            return json_response({"endpoint": endpoint, "headers": {TOKEN_HEADER: token}})
        relay, token = self._sandboxes.port(_id(request))
        path = "" if port == DEFAULT_EXECD_PORT else f"/proxy/{port}"
        return json_response(
            {"endpoint": f"127.0.0.1:{relay}{path}", "headers": {EXECD_TOKEN_HEADER: token}}
        )

    def _signed(self, request: Request, port: int) -> Response:
        if port == EGRESS_PORT:
            message = "The sidecar's own port is never signed: its token leads there."
            raise Refusal(400, "SANDBOX::INVALID_PARAMETER", message)
        path = self._signing.path(_id(request), port, request.query_params["expires"])
        return json_response({"endpoint": f"{request.headers['host']}{path}"})

    def _proxied(self, request: Request, port: int) -> Response:
        if "expires" in request.query_params:
            raise Refusal(
                400, "SANDBOX::INVALID_PARAMETER", "The server proxy has no signed endpoints."
            )
        if port != EGRESS_PORT:
            self._sandboxes.port(_id(request))
        prefix = "/v1" if request.url.path.startswith("/v1/") else ""
        place = f"{prefix}/sandboxes/{_id(request)}/proxy/{port}"
        answer: dict[str, object] = {"endpoint": f"{request.headers['host']}{place}"}
        if port == EGRESS_PORT:
            answer["headers"] = {TOKEN_HEADER: self._sandboxes.get(_id(request)).egress_token}
        return json_response(answer)

    async def network_policy(self, request: Request) -> Response:
        body = b"" if request.method == "GET" else await json_body(request)
        answer = change_policy(self._sandboxes, _id(request), request.method, body)
        return Response(answer, media_type="application/json")

    async def take_event(self, request: Request) -> Response:
        """Nothing is measured here, so the event is read and forgotten."""
        await json_body(request)
        return Response(status_code=204)


async def _version(_: Request) -> Response:
    return json_response({"version": __version__})


def _refuser(what: str) -> _Handler:
    async def refuse(_: Request) -> Response:
        raise unsupported(what)

    return refuse


async def json_body(request: Request) -> bytes:
    """Return the body, which must be JSON, so that no form of a web page is ever understood."""
    kind = request.headers.get("content-type", "application/json")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "SANDBOX::INVALID_PARAMETER", "The request must be `application/json`.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "SANDBOX::INVALID_PARAMETER", "The request must not be compressed.")
    try:
        return await asyncio.wait_for(request.body(), _BODY_SECONDS)
    except asyncio.TimeoutError as error:
        raise Refusal(408, "SANDBOX::INVALID_PARAMETER", "The request did not end.") from error


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise Refusal(400, "SANDBOX::INVALID_PARAMETER", f"`{name}` must be true or false.")
    return text == "true"


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _view(record: Record) -> dict[str, Any]:
    """Return a sandbox as clients see it. A key without a value is left out."""
    status = {
        "state": record.state,
        "reason": record.reason,
        "message": record.message,
        "lastTransitionAt": stamp(record.transition),
    }
    view: dict[str, Any] = {
        "id": record.id,
        "image": None if record.snapshot_id else {"uri": record.image},
        "snapshotId": None if record.template_id else record.snapshot_id,
        "templateId": record.template_id,
        "status": {key: value for key, value in status.items() if value},
        "entrypoint": record.entrypoint,
        "createdAt": stamp(record.created),
        "metadata": record.metadata,
        "extensions": record.extensions,
        "platform": record.platform,
        "expiresAt": None if record.expires is None else stamp(record.expires),
    }
    return {key: value for key, value in view.items() if value}
