"""The blocking SDK, generated from the async one."""

from typing import TYPE_CHECKING, Any

from opensandbox_jupyter.sync.manager import SandboxManagerSync
from opensandbox_jupyter.sync.sandbox import SandboxSync

if TYPE_CHECKING:
    from opensandbox_jupyter.sync.pool import SandboxPoolSync

__all__ = ["SandboxManagerSync", "SandboxPoolSync", "SandboxSync"]


def __getattr__(name: str) -> Any:
    if name != "SandboxPoolSync":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from opensandbox_jupyter.sync.pool import SandboxPoolSync

    return SandboxPoolSync
