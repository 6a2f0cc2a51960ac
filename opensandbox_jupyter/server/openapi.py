"""What the lifecycle server answers, as its OpenAPI document says it.

All of it is answered below ``/v1`` too.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from opensandbox_jupyter.constants import API_KEY_HEADER
from opensandbox_jupyter.egress.policy import Rule
from opensandbox_jupyter.hosting.openapi import Operation, Parameter, document
from opensandbox_jupyter.server.requests import CreateSandbox
from opensandbox_jupyter.server.templates import CreateTemplate

__all__ = ["OPENAPI_ROUTE", "OPERATIONS"]

_Natural = Annotated[int, msgspec.Meta(ge=1)]
_PageSize = Annotated[int, msgspec.Meta(ge=1, le=200)]


class Status(msgspec.Struct, rename="camel"):
    """A state, and since when and why it is so."""

    state: str
    reason: str = ""
    message: str = ""
    last_transition_at: str = ""


class Image(msgspec.Struct):
    """What a sandbox was made from."""

    uri: str


class Created(msgspec.Struct, rename="camel"):
    """A sandbox that was made."""

    id: str
    status: Status
    entrypoint: list[str]
    created_at: str
    expires_at: str = ""
    metadata: dict[str, str] = {}
    extensions: dict[str, str] = {}
    platform: dict[str, str] = {}
    snapshot_id: str = ""
    template_id: str = ""


class Sandbox(Created):
    """A sandbox."""

    image: Image | msgspec.UnsetType = msgspec.UNSET


class Pagination(msgspec.Struct, rename="camel"):
    """Where in a list one is."""

    page: int
    page_size: int
    total_items: int
    total_pages: int
    has_next_page: bool


class Sandboxes(msgspec.Struct):
    """One page of sandboxes."""

    items: list[Sandbox]
    pagination: Pagination


class Snapshot(msgspec.Struct, rename="camel"):
    """A sandbox's files, kept."""

    id: str
    sandbox_id: str
    status: Status
    created_at: str
    name: str = ""


class Snapshots(msgspec.Struct):
    """One page of snapshots."""

    items: list[Snapshot]
    pagination: Pagination


class TemplateStatus(msgspec.Struct, rename="camel"):
    """How far a template is."""

    phase: Literal["Pending", "Building", "Succeeded", "Failed"]
    manifest_ref: str = ""
    message: str = ""


class TemplateReadiness(msgspec.Struct, rename="camel"):
    """When a template is ready to be kept."""

    probe: str = ""
    warmup_seconds: int = 0


class Template(msgspec.Struct, rename="camel"):
    """A sandbox kept to begin others from."""

    template_id: str
    image: str
    publish: str
    format: str
    status: TemplateStatus
    created_at: str
    updated_at: str
    resource_limits: dict[str, str] = {}
    entrypoint: list[str] = []
    env: dict[str, str] = {}
    metadata: dict[str, str] = {}
    readiness: TemplateReadiness | msgspec.UnsetType = msgspec.UNSET


class Templates(msgspec.Struct):
    """One page of templates."""

    items: list[Template]
    pagination: Pagination


class Endpoint(msgspec.Struct):
    """Where a port is reached, without a scheme, and the headers that it wants."""

    endpoint: str
    headers: dict[str, str] = {}


class Expiry(msgspec.Struct, rename="camel"):
    """A moment, RFC 3339."""

    expires_at: str


class Name(msgspec.Struct):
    """A name to give."""

    name: str | None = None


class Health(msgspec.Struct):
    """Whether the server is well."""

    status: Literal["healthy"]


class Version(msgspec.Struct):
    """The server's version."""

    version: str


class Policy(msgspec.Struct, rename="camel"):
    """What a sandbox may reach: the first rule that fits decides, else the default."""

    default_action: Literal["allow", "deny"] = "deny"
    egress: list[Rule] = []


class PolicyAnswer(msgspec.Struct, rename="camel"):
    """The policy in force."""

    status: Literal["ok"]
    mode: str
    enforcement_mode: str
    policy: Policy | msgspec.UnsetType = msgspec.UNSET
    reason: str = ""


_PAGES = [Parameter("page", _Natural), Parameter("pageSize", _PageSize)]
_STATES = Parameter("state", list[str])
_SANDBOX = "/sandboxes/{id}"
_POLICY = f"{_SANDBOX}/networkpolicy"
_TEXT = "text/plain"

OPERATIONS = (
    Operation("GET", "/health", "Whether the server is well.", answer=Health, is_open=True),
    Operation("GET", "/version", "Which version it is.", answer=Version, is_open=True),
    Operation("POST", "/sandboxes", "Make a sandbox.", CreateSandbox, Created, status=202),
    Operation(
        "GET", "/sandboxes", "List sandboxes, the newest first.", answer=Sandboxes,
        query=[_STATES, Parameter("metadata"), *_PAGES],
    ),
    Operation("GET", _SANDBOX, "Look at a sandbox.", answer=Sandbox),
    Operation("DELETE", _SANDBOX, "End a sandbox.", status=204),
    Operation(
        "PATCH", f"{_SANDBOX}/metadata", "Change labels; null removes one.",
        dict[str, str | None], Sandbox,
    ),
    Operation("POST", f"{_SANDBOX}/pause", "Freeze a sandbox.", status=202),
    Operation("POST", f"{_SANDBOX}/resume", "Let it go on.", status=202),
    Operation("POST", f"{_SANDBOX}/renew-expiration", "Set its end of life.", Expiry, Expiry),
    Operation(
        "GET", f"{_SANDBOX}/endpoints/{{port}}", "Where a port is reached.", answer=Endpoint,
        query=[Parameter("use_server_proxy", bool), Parameter("expires", _Natural)],
    ),
    Operation("GET", _POLICY, "What a sandbox may reach.", answer=PolicyAnswer),
    Operation("POST", _POLICY, "Set the policy.", Policy, PolicyAnswer),
    Operation("PUT", _POLICY, "Set the policy.", Policy, PolicyAnswer),
    Operation("PATCH", _POLICY, "Put rules first.", list[Rule], PolicyAnswer),
    Operation("DELETE", _POLICY, "Remove the rules of targets.", list[str], PolicyAnswer),
    Operation(
        "POST", f"{_SANDBOX}/snapshots", "Keep its files.", Name, Snapshot, status=202,
        body_required=False,
    ),
    Operation(
        "GET", "/snapshots", "List snapshots.", answer=Snapshots,
        query=[_STATES, Parameter("sandboxId"), Parameter("name"), *_PAGES],
    ),
    Operation("GET", "/snapshots/{id}", "Look at a snapshot.", answer=Snapshot),
    Operation("DELETE", "/snapshots/{id}", "Remove a snapshot.", status=204),
    Operation("POST", "/templates", "Build a template.", CreateTemplate, Template, status=201),
    Operation(
        "GET", "/templates", "List templates.", answer=Templates,
        query=[Parameter("metadata"), *_PAGES],
    ),
    Operation("GET", "/templates/{id}", "Look at a template.", answer=Template),
    Operation("DELETE", "/templates/{id}", "Remove a template.", status=204),
    *(
        Operation("GET", f"{_SANDBOX}/diagnostics/{name}", summary, answer=_TEXT)
        for name, summary in {
            "logs": "The end of what it wrote; with a scope as JSON.",
            "events": "What happened to it; with a scope as JSON.",
            "inspect": "Its state.",
            "summary": "All of this.",
        }.items()
    ),
    Operation("POST", "/v1/metrics/events", "Take an event of a client.", dict, status=204),
)  # fmt: skip
"""Everything but ``/sandboxes/{id}/proxy/…`` and the sidecar, which an endpoint leads to."""


async def _answer(_: Request) -> Response:
    found = document("OpenSandbox lifecycle", "0.1.0", OPERATIONS, API_KEY_HEADER)
    return Response(msgspec.json.encode(found), media_type="application/json")


OPENAPI_ROUTE = Route("/openapi.json", _answer)
