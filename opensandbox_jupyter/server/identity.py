"""Who the processes of a sandbox are on the outside.

A server of an ordinary user runs its sandboxes as that user. A server run by root must not: to
the kernel's own files a sandbox of uid 0 is root, whatever namespace it sits in. It gives every
sandbox an ordinary uid of its own.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection
from functools import cache
from pathlib import Path

__all__ = ["is_host_root", "outer_uid", "owner", "shared_uid"]

_RANGES = ((2_000_000_000, 65_536), (61_184, 4_336))
"""Ranges that systemd leaves to programs: high, and where few ids are mapped, low."""


@cache
def is_host_root() -> bool:
    """Whether this process is the root of the host, not only of a user namespace."""
    return os.geteuid() == 0 and _outside(0) == 0


def outer_uid(taken: Collection[int]) -> int:
    """Return the uid for a new sandbox, none of ``taken`` where root may choose.

    Raises:
        LookupError: every id is taken, or this user namespace maps none.
    """
    if not is_host_root():
        return os.geteuid()
    for start, size in _RANGES:
        if _outside(start) is None or _outside(start + size - 1) is None:
            continue
        for uid in range(start, start + size):
            if uid not in taken and not _has_name(uid):
                return uid
    raise LookupError(
        "Root has no ordinary user id to give to a sandbox here:"
        " run the server as an ordinary user, or in a container that maps more user ids."
    )


@cache
def shared_uid() -> int:
    """Return the uid of every sandbox with named volumes, which all of them must be able to use."""
    if not is_host_root():
        return os.geteuid()
    for start, size in _RANGES:
        if _outside(start) is not None and _outside(start + size - 1) is not None:
            for uid in range(start + size - 1, start, -1):
                if not _has_name(uid):
                    return uid
    raise LookupError("No user id is free for sandboxes with volumes.")


def owner(path: Path, uid: int) -> None:
    """Give ``path`` itself to ``uid`` where the server may; a link is not followed."""
    if is_host_root():
        os.chown(path, uid, uid, follow_symlinks=False)


def _outside(uid: int) -> int | None:
    """Return what ``uid`` is in the parent user namespace, ``None`` when it is not mapped."""
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        inside, outside, size = map(int, line.split())
        if inside <= uid < inside + size:
            return outside + uid - inside
    return None


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
