"""Removes a tree, whatever a sandbox did to it.

A tree may be 10,000 directories deep or hold directories that nobody may enter. So every
directory found inside is first moved to the top: no path ever grows, nothing recurses.
No link is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from itertools import count
from pathlib import Path

__all__ = ["remove_tree"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str | Path) -> None:
    """Remove ``path`` and all below it. Nothing there is no error. Blocks.

    Raises:
        OSError: something could not be removed.
    """
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(path)
        return
    os.chmod(path, 0o700)
    top = os.open(path, _DIRECTORY)
    try:
        numbers = count()
        _empty(top, top, numbers)
        while True:
            with os.scandir(top) as entries:
                waiting = [entry.name for entry in entries]
            if not waiting:
                break
            for name in waiting:
                _remove_directory(top, name, numbers)
    finally:
        os.close(top)
    os.rmdir(path)


def _remove_directory(top: int, name: str, numbers: count[int]) -> None:
    inside = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        _empty(inside, top, numbers)
    finally:
        os.close(inside)
    os.rmdir(name, dir_fd=top)


def _empty(directory: int, top: int, numbers: count[int]) -> None:
    """Unlink the files of ``directory`` and move its directories to ``top``."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
            continue
        os.chmod(name, 0o700, dir_fd=directory)
        _move_up(name, directory, top, numbers)


def _move_up(name: str, directory: int, top: int, numbers: count[int]) -> None:
    while True:
        target = f".removing-{next(numbers)}"
        try:
            os.rename(name, target, src_dir_fd=directory, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
                raise
        else:
            return
