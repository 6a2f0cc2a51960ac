"""Removing a tree, however deep, and whatever its directories' modes say."""

from __future__ import annotations

import os
import secrets
import shutil
import stat

__all__ = ["remove_tree"]


def remove_tree(path: str) -> None:
    """Remove ``path`` and all below it; it is no error when there is nothing.

    Raises:
        OSError: when something stays.
    """
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(path)
        return
    try:
        shutil.rmtree(path)
    except (RecursionError, OSError):
        if os.path.lexists(path):
            _flatten(path)
            shutil.rmtree(path)


def _flatten(root: str) -> None:
    """Move all directories below ``root`` up to be its children, and remove what is empty."""
    os.chmod(root, 0o700)
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        while names := [name for name in os.listdir(top) if _is_directory(name, top)]:
            for name in names:
                _lift(name, top)
    finally:
        os.close(top)


def _is_directory(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _lift(name: str, top: int) -> None:
    """Empty one child of ``top``: its files go, its directories become children of ``top``."""
    os.chmod(name, 0o700, dir_fd=top)
    child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    try:
        for below in os.listdir(child):
            if _is_directory(below, child):
                os.chmod(below, 0o700, dir_fd=child)
                os.rename(below, secrets.token_hex(8), src_dir_fd=child, dst_dir_fd=top)
            else:
                os.unlink(below, dir_fd=child)
    finally:
        os.close(child)
    os.rmdir(name, dir_fd=top)
