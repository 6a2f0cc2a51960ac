"""Copies on write of directories, in mounts that a session does not share with its sandbox."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from opensandbox_jupyter.execd.kernel import call

__all__ = ["COPY_BYTES", "Source", "lay_over"]

COPY_BYTES = 256 << 20
"""How much a session may change in each directory that it has a copy of; it is kept in memory."""

Source = tuple[str, bool]
"""The real path of what is shown in a session, and whether it is shown as a copy on write."""

_MS_BIND, _MS_REC = 0x1000, 0x4000


def lay_over(sources: Iterable[Source]) -> None:
    """Make each copy appear at its own path. What is to be shown as it is stays so below them.

    To be called in a mount namespace that nobody else is in. Relative paths alone are given to the
    kernel, because in its options some characters mean something.

    Raises:
        OSError: this kernel allows no such overlay (before 5.11), or a path has gone.
    """
    ordered = sorted(sources, key=lambda source: source[0].count("/"))
    opened = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC), copy) for path, copy in ordered]
    copies: list[str] = []
    for path, original, is_copy in opened:
        if is_copy:
            _copy_on_write(path, original)
            copies.append(path)
        elif any(path.startswith(f"{copy}/") for copy in copies):
            _show(original, path, _MS_BIND | _MS_REC)
    for _, original, _ in opened:
        os.close(original)
    os.chdir("/")


def _copy_on_write(path: str, original: int) -> None:
    """Mount an overlay of ``original`` at ``path``, above the memory that holds its changes."""
    call("mount", b"tmpfs", path.encode(), b"tmpfs", 0, b"mode=700,size=%d" % COPY_BYTES)
    for name in ("lower", "upper", "work"):
        os.mkdir(f"{path}/{name}")
    os.chmod(f"{path}/upper", stat.S_IMODE(os.fstat(original).st_mode))
    # without what is mounted on it, which is by now the memory itself
    _show(original, f"{path}/lower", _MS_BIND)
    os.chdir(path)
    options = b"userxattr,lowerdir=lower,upperdir=upper,workdir=work"
    call("mount", b"overlay", path.encode(), b"overlay", 0, options)


def _show(original: int, path: str, flags: int) -> None:
    os.fchdir(original)
    call("mount", b".", path.encode(), None, flags, None)
