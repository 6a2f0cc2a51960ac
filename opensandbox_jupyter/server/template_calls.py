"""The routes of templates."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from opensandbox_jupyter.server.answers import json_response, page_of
from opensandbox_jupyter.server.clock import stamp
from opensandbox_jupyter.server.labels import parse_filter
from opensandbox_jupyter.server.lifecycle import json_body
from opensandbox_jupyter.server.records import Template
from opensandbox_jupyter.server.requests import decode
from opensandbox_jupyter.server.templates import CreateTemplate, Templates

__all__ = ["template_routes"]


def template_routes(templates: Templates) -> list[Route]:
    """Return the routes at ``/templates``."""
    calls = _Calls(templates)
    return [
        Route("/templates", calls.create, methods=["POST"]),
        Route("/templates", calls.list),
        Route("/templates/{id}", calls.get),
        Route("/templates/{id}", calls.delete, methods=["DELETE"]),
    ]


class _Calls:
    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    async def create(self, request: Request) -> Response:
        wanted = decode(await json_body(request), CreateTemplate)
        return json_response(_view(self._templates.add(wanted)), 201)

    async def list(self, request: Request) -> Response:
        labels = parse_filter(request.query_params.get("metadata", "")).items()
        found = [one for one in self._templates.all() if labels <= (one.metadata or {}).items()]
        return json_response(page_of(request, found, _view))

    async def get(self, request: Request) -> Response:
        return json_response(_view(self._templates.get(request.path_params["id"])))

    async def delete(self, request: Request) -> Response:
        await self._templates.delete(request.path_params["id"])
        return Response(status_code=204)


def _view(template: Template) -> dict[str, Any]:
    """Return a template as clients see it. A key without a value is left out."""
    status = {
        "phase": template.phase,
        "manifestRef": f"snapshot:{template.snapshot_id}" if template.snapshot_id else "",
        "message": template.message,
    }
    readiness = {"probe": template.probe, "warmupSeconds": template.warmup}
    view = {
        "templateId": template.id,
        "image": template.image,
        "publish": template.publish,
        "format": template.format,
        "status": {key: value for key, value in status.items() if value},
        "createdAt": stamp(template.created),
        "updatedAt": stamp(template.updated),
        "resourceLimits": template.limits,
        "entrypoint": template.entrypoint,
        "env": template.env,
        "metadata": template.metadata,
        "readiness": {key: value for key, value in readiness.items() if value is not None},
    }
    return {key: value for key, value in view.items() if value}
