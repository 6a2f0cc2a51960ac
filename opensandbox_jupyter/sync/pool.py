"""Pools of warm sandboxes, blocking."""

from opensandbox_jupyter.sync.pools.sandbox_pool import SandboxPoolSync

__all__ = ["SandboxPoolSync"]
