"""Where a port of a sandbox is reached: light, because every connection needs it."""

from __future__ import annotations

from dataclasses import dataclass, field

from opensandbox_jupyter.models.dumping import Dumped
from opensandbox_jupyter.secrecy import Unpicklable

__all__ = ["SandboxEndpoint"]


@dataclass(frozen=True, slots=True)
class SandboxEndpoint(Unpicklable, Dumped):
    """Where a port of a sandbox is reached.

    ``endpoint`` is ``host[:port][/path]`` without a scheme; ``headers`` go with every request.
    """

    endpoint: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    origin: str | None = None


class SignedEndpoint(SandboxEndpoint):
    """The same for whoever has the address, which is therefore not shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
