"""The routes of snapshots."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from opensandbox_jupyter.server.answers import json_response, page_of
from opensandbox_jupyter.server.clock import stamp
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.lifecycle import json_body
from opensandbox_jupyter.server.records import Snapshot
from opensandbox_jupyter.server.requests import decode
from opensandbox_jupyter.server.sandboxes import Sandboxes
from opensandbox_jupyter.server.snapshots import Snapshots

__all__ = ["snapshot_routes"]

_MOST_NAME = 256


class _Create(msgspec.Struct):
    name: str | None = None


def snapshot_routes(sandboxes: Sandboxes, snapshots: Snapshots) -> list[Route]:
    """Return the routes at ``/snapshots`` and ``/sandboxes/{id}/snapshots``."""
    calls = _Calls(sandboxes, snapshots)
    return [
        Route("/sandboxes/{id}/snapshots", calls.create, methods=["POST"]),
        Route("/snapshots", calls.list),
        Route("/snapshots/{id}", calls.get),
        Route("/snapshots/{id}", calls.delete, methods=["DELETE"]),
    ]


class _Calls:
    def __init__(self, sandboxes: Sandboxes, snapshots: Snapshots) -> None:
        self._sandboxes = sandboxes
        self._snapshots = snapshots

    async def create(self, request: Request) -> Response:
        body = await json_body(request)
        name = decode(body, _Create).name if body.strip() else None
        if name is not None and (not name.strip() or len(name) > _MOST_NAME):
            raise Refusal(
                400, "SANDBOX::INVALID_PARAMETER", f"`name` has 1 to {_MOST_NAME} characters."
            )
        snapshot = self._sandboxes.snapshot(request.path_params["id"], name)
        return json_response(_view(snapshot), 202, {"Location": f"/v1/snapshots/{snapshot.id}"})

    async def list(self, request: Request) -> Response:
        query = request.query_params
        states = {state.casefold() for state in query.getlist("state")}
        found = [
            one
            for one in self._snapshots.all()
            if query.get("sandboxId", one.sandbox_id) == one.sandbox_id
            and query.get("name", one.name) == one.name
            and (not states or one.state.casefold() in states)
        ]
        return json_response(page_of(request, found, _view))

    async def get(self, request: Request) -> Response:
        return json_response(_view(self._snapshots.get(request.path_params["id"])))

    async def delete(self, request: Request) -> Response:
        snapshot = self._snapshots.get(request.path_params["id"])
        if snapshot.template_id:
            message = f"The snapshot belongs to the template {snapshot.template_id}."
            raise Refusal(409, "SNAPSHOT::INVALID_STATE", message)
        await self._snapshots.delete(snapshot.id)
        return Response(status_code=204)


def _view(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as clients see it. A key without a value is left out."""
    status = {
        "state": snapshot.state,
        "reason": snapshot.reason,
        "message": snapshot.message,
        "lastTransitionAt": stamp(snapshot.transition),
    }
    view = {
        "id": snapshot.id,
        "sandboxId": snapshot.sandbox_id,
        "name": snapshot.name,
        "status": {key: value for key, value in status.items() if value},
        "createdAt": stamp(snapshot.created),
    }
    return {key: value for key, value in view.items() if value}
