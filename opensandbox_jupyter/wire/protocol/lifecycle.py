"""What is asked of a lifecycle server about sandboxes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from opensandbox_jupyter import models
from opensandbox_jupyter.models.spec import SandboxSpec
from opensandbox_jupyter.wire.base import Operation, Origin
from opensandbox_jupyter.wire.protocol._refusal import Refusal

__all__ = ["LifecycleCalls"]


class LifecycleCalls(Refusal):
    """Sandboxes, from create to kill."""

    def create(self, server: Origin, spec: SandboxSpec) -> Operation[str]:
        """Create a sandbox, and return its id."""
        self._lacks("creating a sandbox")

    def get(self, server: Origin, sandbox_id: str) -> Operation[models.SandboxInfo]:
        """Get one sandbox."""
        self._lacks("getting a sandbox")

    def list_sandboxes(
        self, server: Origin, which: models.SandboxFilter
    ) -> Operation[models.PagedSandboxInfos]:
        """List sandboxes, a page at a time."""
        self._lacks("listing sandboxes")

    def kill(self, server: Origin, sandbox_id: str) -> Operation[None]:
        """End a sandbox."""
        self._lacks("killing a sandbox")

    def pause(self, server: Origin, sandbox_id: str) -> Operation[None]:
        """Pause a sandbox."""
        self._lacks("pausing a sandbox")

    def resume(self, server: Origin, sandbox_id: str) -> Operation[None]:
        """Resume a paused sandbox."""
        self._lacks("resuming a sandbox")

    def renew(
        self, server: Origin, sandbox_id: str, expires_at: datetime
    ) -> Operation[models.SandboxRenewResponse]:
        """Set a sandbox's end of life."""
        self._lacks("renewing a sandbox")

    def patch_metadata(
        self, server: Origin, sandbox_id: str, patch: Mapping[str, str | None]
    ) -> Operation[models.SandboxInfo]:
        """Change a sandbox's labels; ``None`` removes one."""
        self._lacks("changing metadata")

    def diagnostics(
        self, server: Origin, sandbox_id: str, kind: str, scope: str
    ) -> Operation[models.DiagnosticContent]:
        """Ask for a sandbox's ``logs`` or ``events``."""
        self._lacks("diagnostics")

    def signed_endpoint(
        self, server: Origin, sandbox_id: str, port: int, expires: int
    ) -> Operation[models.SandboxEndpoint]:
        """Find out where a port is reached until a moment, without any header."""
        self._lacks("signed endpoints")

    def endpoint(
        self, server: Origin, sandbox_id: str, port: int, *, use_server_proxy: bool
    ) -> Operation[models.SandboxEndpoint]:
        """Find out where a port of a sandbox is reached."""
        self._lacks("endpoints")
