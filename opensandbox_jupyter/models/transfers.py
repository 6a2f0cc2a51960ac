"""What became of a copy between this machine and a sandbox."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Transfer"]


@dataclass(slots=True)
class Transfer:
    """An upload or a download that has ended well.

    Attributes:
        files: how many files are in their places.
        size: their bytes, together.
        resumed: how many of those bytes were already here from a download that broke off.
        verified: ``sha256``, ``size`` where the sandbox has no ``sha256sum``, or ``None`` when it
            was not wanted.
        skipped: what was not copied: symbolic links, special files, and names that are not safe.
    """

    files: int = 0
    size: int = 0
    resumed: int = 0
    verified: Literal["sha256", "size"] | None = None
    skipped: list[str] = field(default_factory=list)
