"""Pools of warm sandboxes, async."""

from opensandbox_jupyter.pools.memory import InMemoryAsyncPoolStateStore
from opensandbox_jupyter.pools.sandbox_pool import SandboxPoolAsync

__all__ = ["AsyncSandboxPool", "InMemoryAsyncPoolStateStore", "SandboxPoolAsync"]

AsyncSandboxPool = SandboxPoolAsync
