"""The blocking SDK, generated from the async one."""

from opensandbox_jupyter.sync.manager import SandboxManagerSync
from opensandbox_jupyter.sync.sandbox import SandboxSync

__all__ = ["SandboxManagerSync", "SandboxSync"]
