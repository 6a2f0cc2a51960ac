"""How full a disk is, and what a tree takes of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

__all__ = ["Space", "size_of_tree", "space_of"]

_MOST_RESERVE = 1 << 30


class Space(NamedTuple):
    """A disk, in bytes: what is free, and what shall stay so, a twentieth of it, 1 GiB at most."""

    free: int
    reserve: int

    @property
    def is_scarce(self) -> bool:
        """Whether there is little more than the reserve."""
        return self.free < 2 * self.reserve


def space_of(path: Path) -> Space:
    """Return how full the disk of ``path`` is. Raises: OSError."""
    disk = os.statvfs(path)
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    return Space(free, min(_MOST_RESERVE, total // 20))


def size_of_tree(path: Path) -> int:
    """Return the bytes on the disk of ``path`` and all below it, as far as one may look. Blocks.

    ``du`` counts: it follows no link that is put in its way, and no path is too long for it.
    """
    du = ["du", "-skx", "--", str(path)]
    said = subprocess.run(du, capture_output=True, check=False).stdout
    kibibytes = said.partition(b"\t")[0]
    return int(kibibytes) * 1024 if kibibytes.isdigit() else 0
