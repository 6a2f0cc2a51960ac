"""Templates: a sandbox started once, made ready, and kept, to begin others from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import uuid
from typing import Any, Literal

import msgspec

from opensandbox_jupyter.server.clock import wall
from opensandbox_jupyter.server.errands import Errands
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.inside import succeeds
from opensandbox_jupyter.server.labels import check_labels
from opensandbox_jupyter.server.records import Records, Template
from opensandbox_jupyter.server.requests import CreateSandbox
from opensandbox_jupyter.server.sandboxes import Sandboxes
from opensandbox_jupyter.server.snapshots import Snapshots

__all__ = ["CreateTemplate", "Templates"]

_LOG = logging.getLogger(__name__)
_LIMITS = {"cpu": "1", "memory": "512Mi"}
_PROBE_SECONDS = 600.0
_STEP = 0.5
_MOST_WARMUP = 3600
_TCP = re.compile(r"tcp://(?:127\.0\.0\.1|localhost):(\d{1,5})")
_NOT_WITH_A_TEMPLATE = (
    "image", "snapshot_id", "entrypoint", "env", "resource_limits", "volumes", "platform",
    "credential_proxy", "secure_access", "lifecycle",
)  # fmt: skip


class _Readiness(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    probe: str | None = None
    warmup_seconds: int | None = None


class CreateTemplate(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of a create of a template."""

    image: str
    publish: str
    resource_limits: dict[str, str] | None = None
    entrypoint: list[str] | None = None
    env: dict[str, str] | None = None
    metadata: dict[str, str] | None = None
    readiness: _Readiness | None = None
    format: Literal["native", "overlaybd"] = "overlaybd"

    def template(self) -> Template:
        """Return the template that is asked for. Raises: Refusal 400."""
        if not self.image.strip() or not self.publish.strip():
            raise _invalid("A template needs an `image` and a `publish` that are not blank.")
        check_labels(self.metadata or {}, "SANDBOX::INVALID_METADATA_LABEL")
        wanted = self.readiness or _Readiness()
        if wanted.probe and not (_TCP.fullmatch(wanted.probe) or wanted.probe[:6] == "cmd://"):
            raise _invalid("`probe` is tcp://127.0.0.1:PORT or cmd://COMMAND.")
        if not 0 <= (wanted.warmup_seconds or 0) <= _MOST_WARMUP:
            raise _invalid(f"`warmupSeconds` is a number from 0 to {_MOST_WARMUP}.")
        now = wall()
        return Template(
            id=f"tpl_{uuid.uuid4()}",
            image=self.image.strip(),
            publish=self.publish,
            created=now,
            updated=now,
            format=self.format,
            limits=self.resource_limits,
            entrypoint=self.entrypoint,
            env=self.env,
            metadata=self.metadata,
            probe=wanted.probe,
            warmup=wanted.warmup_seconds,
        )


class Templates:
    """Every template that there is, built or being built."""

    def __init__(self, records: Records, sandboxes: Sandboxes, snapshots: Snapshots) -> None:
        self._shelf = records.templates
        self._sandboxes = sandboxes
        self._snapshots = snapshots
        self._known: dict[str, Template] = {}
        self._errands = Errands()

    def all(self) -> list[Template]:
        """Return every template, newest first."""
        return sorted(self._known.values(), key=lambda one: (-one.created, one.id))

    def get(self, template_id: str) -> Template:
        """Return one template. Raises: Refusal 404."""
        found = self._known.get(template_id)
        if found is None:
            raise Refusal(404, "FSB::TEMPLATE_NOT_FOUND", f"There is no template {template_id!r}.")
        return found

    def add(self, wanted: CreateTemplate) -> Template:
        """Begin to build a template and return it."""
        template = wanted.template()
        self._sandboxes.check(self._starting(template))
        self._known[template.id] = template
        self._say(template, "Pending")
        self._errands.send(self._build(template))
        return template

    async def delete(self, template_id: str) -> None:
        """Remove a template and its files; its sandboxes go on. Raises: Refusal 404 or 409."""
        template = self.get(template_id)
        if template.phase in {"Pending", "Building"}:
            raise Refusal(409, "FSB::TEMPLATE_CONFLICT", "The template is still being built.")
        if template.snapshot_id:
            await self._snapshots.delete(template.snapshot_id)
        self._shelf.remove(template.id)
        self._known.pop(template.id, None)

    def expand(self, request: CreateSandbox) -> CreateSandbox:
        """Return ``request`` with what its template says, if it names one.

        Raises:
            Refusal: 404, there is no such template; 409, it is not ready; 400, the request says
                what only the template may say.
        """
        if request.template_id is None:
            return request
        default = CreateSandbox()
        extra = [
            msgspec.structs.fields(CreateSandbox)[at].encode_name
            for at, name in enumerate(CreateSandbox.__struct_fields__)
            if name in _NOT_WITH_A_TEMPLATE and getattr(request, name) != getattr(default, name)
        ]
        if extra:
            raise _invalid(f"With `templateId` there is no {', '.join(extra)}: leave it out.")
        if request.timeout is None:
            raise _invalid("With `templateId` a `timeout` is needed.")
        template = self.get(request.template_id)
        if template.phase != "Succeeded":
            message = f"The template is {template.phase}. {template.message}".strip()
            raise Refusal(409, "FSB::TEMPLATE_CONFLICT", message)
        return msgspec.structs.replace(
            request,
            snapshot_id=template.snapshot_id,
            entrypoint=template.entrypoint,
            env=dict(template.env or {}),
            resource_limits=template.limits or _LIMITS,
        )

    async def recover(self) -> None:
        """Take over what an earlier server left; what it was building has failed."""
        for template in self._shelf.all():
            self._known[template.id] = template
            if template.phase in {"Pending", "Building"}:
                self._say(template, "Failed", "The server ended before the template was built.")
            await self._clear(template)
        known = {template.snapshot_id for template in self._known.values()}
        for snapshot in self._snapshots.of_templates():
            if snapshot.id not in known:
                with contextlib.suppress(Refusal):
                    await self._snapshots.delete(snapshot.id)

    async def close(self) -> None:
        """End builds that are under way."""
        await self._errands.cancel()

    def _starting(self, template: Template) -> CreateSandbox:
        """Return the request for the sandbox that becomes the template."""
        document: dict[str, Any] = {
            "image": {"uri": template.image},
            "entrypoint": template.entrypoint,
            "env": template.env,
            "resourceLimits": template.limits or _LIMITS,
        }
        try:
            return msgspec.convert(document, CreateSandbox)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from error

    async def _build(self, template: Template) -> None:
        failure = ""
        try:
            await self._make(template)
        except Refusal as refusal:
            failure = refusal.message
        except OSError as error:
            failure = str(error)
        finally:
            await asyncio.shield(self._clear(template))
        self._say(template, "Failed" if failure else "Succeeded", failure)

    async def _make(self, template: Template) -> None:
        """Start a sandbox, wait until it is ready, and keep it. Raises: Refusal, OSError."""
        template.sandbox_id = (await self._sandboxes.create(self._starting(template))).id
        self._say(template, "Building")
        await self._wait_until_ready(template, template.sandbox_id)
        snapshot = self._sandboxes.snapshot(template.sandbox_id, None, template.id)
        while snapshot.state == "Creating":  # noqa: ASYNC110  # its record says it
            await asyncio.sleep(0.05)
        if snapshot.state != "Ready":
            raise Refusal(500, "FSB::API_ERROR", snapshot.message)
        template.snapshot_id = snapshot.id

    async def _clear(self, template: Template) -> None:
        """Remove the sandbox that was to become the template."""
        if template.sandbox_id:
            with contextlib.suppress(Refusal):
                await self._sandboxes.delete(template.sandbox_id)
            template.sandbox_id = ""
            self._shelf.save(template)

    async def _wait_until_ready(self, template: Template, sandbox_id: str) -> None:
        if not template.probe:
            await asyncio.sleep(template.warmup or 0)
            return
        port = _TCP.fullmatch(template.probe)
        probe = f"echo > /dev/tcp/127.0.0.1/{port[1]}" if port else template.probe[6:]
        deadline = asyncio.get_running_loop().time() + _PROBE_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            socket_path, token = self._sandboxes.entry(sandbox_id).way_in()
            if port and int(port[1]) == 44_772:
                return  # execd itself, which answers since the create
            if await succeeds(socket_path, token, probe, _PROBE_SECONDS):
                return
            await asyncio.sleep(_STEP)
        raise Refusal(504, "FSB::API_ERROR", f"The probe {template.probe!r} did not succeed.")

    def _say(self, template: Template, phase: str, message: str = "") -> None:
        template.phase, template.message, template.updated = phase, message[:1000], wall()
        self._shelf.save(template)


def _invalid(message: str) -> Refusal:
    return Refusal(400, "SANDBOX::INVALID_PARAMETER", message)
