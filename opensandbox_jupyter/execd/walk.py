"""Walking a tree: parents before children, names in order, at any depth, links not followed."""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["walk"]


def walk(root: str, depth: int | None = None) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what is below ``root``, at most ``depth`` levels down.

    What vanishes meanwhile, and directories that cannot be read, are left out.
    """
    if depth == 0:
        return
    stack = [_entries(root)]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        try:
            info = entry.stat(follow_symlinks=False)
            is_directory = entry.is_dir(follow_symlinks=False)
        except OSError:
            continue
        yield entry.path, info
        if is_directory and (depth is None or len(stack) < depth):
            stack.append(_entries(entry.path))


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return iter(sorted(entries, key=lambda entry: entry.name))
    except OSError:
        return iter(())
