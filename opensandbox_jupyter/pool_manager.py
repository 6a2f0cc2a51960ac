"""Destroys pools of warm sandboxes."""

from opensandbox_jupyter.pools.manager import SandboxPoolManagerAsync
from opensandbox_jupyter.sync.pools.manager import SandboxPoolManagerSync

__all__ = ["SandboxPoolManager", "SandboxPoolManagerAsync", "SandboxPoolManagerSync"]

SandboxPoolManager = SandboxPoolManagerSync
