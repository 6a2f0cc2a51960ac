"""What a server tells of a sandbox that went wrong."""

from __future__ import annotations

from datetime import datetime

from opensandbox_jupyter.models._base import CamelModel

__all__ = ["DiagnosticContent"]


class DiagnosticContent(CamelModel):
    """Logs or events of a sandbox: in ``content``, or to be fetched from ``content_url``.

    ``content_length`` is in bytes; ``truncated`` tells that there was more.
    """

    sandbox_id: str
    kind: str
    scope: str
    delivery: str
    content_type: str
    truncated: bool
    content: str | None = None
    content_url: str | None = None
    content_length: int | None = None
    expires_at: datetime | None = None
    warnings: list[str] | None = None
