"""The blocking twin of :mod:`opensandbox_jupyter.models.execd`'s handlers."""

from __future__ import annotations

from opensandbox_jupyter.models.execd import ExecutionHandlers

__all__ = ["ExecutionHandlersSync"]

ExecutionHandlersSync = ExecutionHandlers
"""The same class: with the blocking SDK the functions must be plain ones."""
