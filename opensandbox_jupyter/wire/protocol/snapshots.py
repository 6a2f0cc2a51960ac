"""What is asked of a lifecycle server about snapshots and templates."""

from __future__ import annotations

from opensandbox_jupyter import models
from opensandbox_jupyter.wire.base import Operation, Origin
from opensandbox_jupyter.wire.protocol._refusal import Refusal

__all__ = ["SnapshotCalls"]


class SnapshotCalls(Refusal):
    """What sandboxes begin from."""

    def create_snapshot(
        self, server: Origin, sandbox_id: str, name: str | None
    ) -> Operation[models.SnapshotInfo]:
        """Keep a sandbox's files."""
        self._lacks("snapshots")

    def get_snapshot(self, server: Origin, snapshot_id: str) -> Operation[models.SnapshotInfo]:
        """Look at a snapshot."""
        self._lacks("snapshots")

    def list_snapshots(
        self, server: Origin, which: models.SnapshotFilter
    ) -> Operation[models.PagedSnapshotInfos]:
        """List snapshots, a page at a time."""
        self._lacks("snapshots")

    def delete_snapshot(self, server: Origin, snapshot_id: str) -> Operation[None]:
        """Remove a snapshot."""
        self._lacks("snapshots")

    def create_template(
        self, server: Origin, wanted: models.CreateTemplateRequest
    ) -> Operation[models.TemplateInfo]:
        """Build a template."""
        self._lacks("templates")

    def get_template(self, server: Origin, template_id: str) -> Operation[models.TemplateInfo]:
        """Look at a template."""
        self._lacks("templates")

    def list_templates(
        self, server: Origin, which: models.TemplateFilter
    ) -> Operation[models.PagedTemplateInfos]:
        """List templates, a page at a time."""
        self._lacks("templates")

    def delete_template(self, server: Origin, template_id: str) -> Operation[None]:
        """Remove a template."""
        self._lacks("templates")
