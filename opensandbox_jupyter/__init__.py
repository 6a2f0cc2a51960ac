"""Isolated machines for untrusted code, from Python and from a notebook.

In a program::

    from opensandbox_jupyter import SandboxSync

    with SandboxSync.create("python:3.11") as sandbox:
        print(sandbox.commands.run("echo hello").stdout)
        sandbox.kill()

In a notebook: ``%load_ext opensandbox_jupyter``, ``%sandbox create``, ``%%sandbox_exec``.

Names are loaded when they are first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from opensandbox_jupyter.config import ConnectionConfig, ConnectionConfigSync
    from opensandbox_jupyter.exceptions import SandboxException
    from opensandbox_jupyter.manager import SandboxManager
    from opensandbox_jupyter.pool import (
        AcquirePolicy,
        AsyncPooledSandboxCreator,
        AsyncSandboxPool,
        InMemoryAsyncPoolStateStore,
        InMemoryPoolStateStore,
        PoolCreationSpec,
        PoolDestroyOptions,
        PoolDestroyResult,
        PoolDestroyState,
        PoolDestroyStrategy,
        PooledSandboxCreateContext,
        PooledSandboxCreateReason,
        PooledSandboxCreator,
        SandboxPool,
        SandboxPoolAsync,
        SandboxPoolManager,
        SandboxPoolManagerAsync,
        SandboxPoolManagerSync,
        SandboxPoolSync,
    )
    from opensandbox_jupyter.sandbox import Sandbox
    from opensandbox_jupyter.sync.manager import SandboxManagerSync
    from opensandbox_jupyter.sync.sandbox import SandboxSync

__version__ = "0.1.0"

__all__ = [
    "AcquirePolicy",
    "AsyncPooledSandboxCreator",
    "AsyncSandboxPool",
    "ConnectionConfig",
    "ConnectionConfigSync",
    "InMemoryAsyncPoolStateStore",
    "InMemoryPoolStateStore",
    "PoolCreationSpec",
    "PoolDestroyOptions",
    "PoolDestroyResult",
    "PoolDestroyState",
    "PoolDestroyStrategy",
    "PooledSandboxCreateContext",
    "PooledSandboxCreateReason",
    "PooledSandboxCreator",
    "Sandbox",
    "SandboxException",
    "SandboxManager",
    "SandboxManagerSync",
    "SandboxPool",
    "SandboxPoolAsync",
    "SandboxPoolManager",
    "SandboxPoolManagerAsync",
    "SandboxPoolManagerSync",
    "SandboxPoolSync",
    "SandboxSync",
    "__version__",
    "load_ipython_extension",
    "unload_ipython_extension",
]

_HOMES = {
    "ConnectionConfig": "config",
    "ConnectionConfigSync": "config",
    "Sandbox": "sandbox",
    "SandboxException": "exceptions",
    "SandboxManager": "manager",
    "SandboxManagerSync": "sync.manager",
    "SandboxSync": "sync.sandbox",
}
_ELSE = "pool"


if not TYPE_CHECKING:  # a checker would believe that every name is here

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES.get(name, _ELSE)}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add ``%sandbox``, ``%sandbox_exec`` and ``%%sandbox_exec`` to an IPython shell."""
    from opensandbox_jupyter.magics.extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the magics out of the shell again. Sandboxes keep running until they expire."""
    from opensandbox_jupyter.magics.extension import unload

    unload(shell)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "opensandbox_jupyter.jupyter_server"}]
