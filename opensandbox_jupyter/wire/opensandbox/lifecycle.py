"""Operations on the lifecycle server. Specified by the OpenSandbox lifecycle API, version 0.1.0."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, urlencode

from opensandbox_jupyter import models
from opensandbox_jupyter.exceptions import (
    MalformedAnswerException,
    SandboxApiException,
    SandboxException,
)
from opensandbox_jupyter.models.endpoints import SignedEndpoint
from opensandbox_jupyter.models.spec import SandboxSpec
from opensandbox_jupyter.wire.base import Call, Operation, Origin, Reply
from opensandbox_jupyter.wire.errors import about, expect
from opensandbox_jupyter.wire.opensandbox._read import as_sent, read_model, to_json
from opensandbox_jupyter.wire.protocol.lifecycle import LifecycleCalls

__all__ = ["Lifecycle"]

_CREATED = (202,)
_RESOURCES = {"cpu": "1", "memory": "2Gi"}
_IDLE = ("tail", "-f", "/dev/null")


def _sandbox(sandbox_id: str, tail: str = "") -> str:
    return f"/sandboxes/{quote(sandbox_id, safe='')}{tail}"


@dataclass(frozen=True, slots=True)
class _Created:
    """What is needed of the answer to a create."""

    id: str


class Lifecycle(LifecycleCalls):
    """Create, look up, pause, resume, renew and kill sandboxes."""

    def create(self, server: Origin, spec: SandboxSpec) -> Operation[str]:
        """POST /sandboxes; only 202 is success. What was made all the same is killed."""
        body = to_json(_create_request(spec))
        call = Call("create_sandbox", server, "POST", "/sandboxes", json=body)
        reply = yield call
        try:
            return read_model(call, reply, _Created, _CREATED).id
        except SandboxApiException as error:
            if isinstance(error, MalformedAnswerException):
                about(error, call, Reply(reply.status, reply.headers))
            made = _id_within(reply)
            if made is not None:
                with suppress(SandboxException):
                    yield from self.kill(server, made)
            raise

    def get(self, server: Origin, sandbox_id: str) -> Operation[models.SandboxInfo]:
        """GET /sandboxes/{id}."""
        call = Call("get_sandbox", server, "GET", _sandbox(sandbox_id))
        return read_model(call, (yield call), models.SandboxInfo)

    def list_sandboxes(
        self, server: Origin, which: models.SandboxFilter
    ) -> Operation[models.PagedSandboxInfos]:
        """GET /sandboxes; the metadata filter is a query string inside the query string."""
        query = [("state", state) for state in which.states or ()]
        if which.metadata:
            query.append(("metadata", urlencode(which.metadata, quote_via=quote)))
        if which.page is not None:
            query.append(("page", str(which.page)))
        if which.page_size is not None:
            query.append(("pageSize", str(which.page_size)))
        call = Call("list_sandboxes", server, "GET", "/sandboxes", query)
        return read_model(call, (yield call), models.PagedSandboxInfos)

    def kill(self, server: Origin, sandbox_id: str) -> Operation[None]:
        """DELETE /sandboxes/{id}."""
        return self._act(Call("kill_sandbox", server, "DELETE", _sandbox(sandbox_id)))

    def pause(self, server: Origin, sandbox_id: str) -> Operation[None]:
        """POST /sandboxes/{id}/pause."""
        return self._act(Call("pause_sandbox", server, "POST", _sandbox(sandbox_id, "/pause")))

    def resume(self, server: Origin, sandbox_id: str) -> Operation[None]:
        """POST /sandboxes/{id}/resume."""
        return self._act(Call("resume_sandbox", server, "POST", _sandbox(sandbox_id, "/resume")))

    def renew(
        self, server: Origin, sandbox_id: str, expires_at: datetime
    ) -> Operation[models.SandboxRenewResponse]:
        """POST /sandboxes/{id}/renew-expiration; the time is sent as UTC."""
        body = {"expiresAt": expires_at.astimezone(timezone.utc)}
        path = _sandbox(sandbox_id, "/renew-expiration")
        call = Call("renew_sandbox", server, "POST", path, json=to_json(body))
        return read_model(call, (yield call), models.SandboxRenewResponse)

    def patch_metadata(
        self, server: Origin, sandbox_id: str, patch: Mapping[str, str | None]
    ) -> Operation[models.SandboxInfo]:
        """PATCH /sandboxes/{id}/metadata, a merge patch."""
        path = _sandbox(sandbox_id, "/metadata")
        call = Call("patch_metadata", server, "PATCH", path, json=to_json(dict(patch)))
        return read_model(call, (yield call), models.SandboxInfo)

    def diagnostics(
        self, server: Origin, sandbox_id: str, kind: str, scope: str
    ) -> Operation[models.DiagnosticContent]:
        """GET /sandboxes/{id}/diagnostics/logs or events."""
        path = _sandbox(sandbox_id, f"/diagnostics/{kind}")
        call = Call(f"get_diagnostic_{kind}", server, "GET", path, [("scope", scope)])
        return read_model(call, (yield call), models.DiagnosticContent)

    def signed_endpoint(
        self, server: Origin, sandbox_id: str, port: int, expires: int
    ) -> Operation[models.SandboxEndpoint]:
        """GET /sandboxes/{id}/endpoints/{port}?expires=, in seconds since 1970."""
        path = _sandbox(sandbox_id, f"/endpoints/{port}")
        query = [("use_server_proxy", "false"), ("expires", str(expires))]
        call = Call("get_signed_endpoint", server, "GET", path, query)
        return read_model(call, (yield call), SignedEndpoint)

    def endpoint(
        self, server: Origin, sandbox_id: str, port: int, *, use_server_proxy: bool
    ) -> Operation[models.SandboxEndpoint]:
        """GET /sandboxes/{id}/endpoints/{port}."""
        query = [("use_server_proxy", str(use_server_proxy).lower())]
        path = _sandbox(sandbox_id, f"/endpoints/{port}")
        call = Call("get_endpoint", server, "GET", path, query)
        reply = yield call
        found = read_model(call, reply, models.SandboxEndpoint)
        return replace(found, origin=reply.headers.get("open-sandbox-origin"))

    @staticmethod
    def _act(call: Call) -> Operation[None]:
        expect(call, (yield call))


def _id_within(reply: Reply) -> str | None:
    """Return the id of a sandbox that was made, of an answer that is not the promised one."""
    found = re.search(rb'"id"\s*:\s*"([^"\\]{1,128})"', reply.body)
    return found[1].decode("utf-8", "replace") if found and reply.status < 300 else None


def _create_request(spec: SandboxSpec) -> dict[str, Any]:
    """Return the body of a create request; what is not asked for is left out, but the timeout."""
    lifetime = None if spec.timeout is None else math.ceil(spec.timeout.total_seconds())
    image = {"uri": spec.image} if isinstance(spec.image, str) else spec.image
    if spec.template_id is not None:
        begin: dict[str, Any] = {"templateId": spec.template_id, "timeout": lifetime}
        said = {
            "metadata": spec.metadata,
            "networkPolicy": spec.network_policy,
            "extensions": spec.extensions,
        }
        return begin | {name: as_sent(value) for name, value in said.items() if value}
    optional = {
        "image": image,
        "snapshotId": spec.snapshot_id,
        "resourceRequests": spec.resource_requests,
        "credentialProxy": spec.credential_proxy,
        "lifecycle": spec.lifecycle,
        "env": spec.env,
        "metadata": spec.metadata,
        "platform": spec.platform,
        "networkPolicy": spec.network_policy,
        "extensions": spec.extensions,
        "volumes": spec.volumes,
    }
    return {
        "timeout": lifetime,
        "resourceLimits": dict(spec.resource or _RESOURCES),
        "entrypoint": list(spec.entrypoint or _IDLE),
        "secureAccess": spec.secure_access,
        **{name: as_sent(value) for name, value in optional.items() if value},
    }
