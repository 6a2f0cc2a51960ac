"""Where a port of a sandbox is reached: light, because every connection needs it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["SandboxEndpoint"]


@dataclass(frozen=True, slots=True)
class SandboxEndpoint:
    """Where a port of a sandbox is reached.

    ``endpoint`` is ``host[:port][/path]`` without a scheme; ``headers`` go with every request.
    """

    endpoint: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    origin: str | None = None
