"""Finds and removes what nothing refers to any more: the rest of deletions, imports and crashes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from opensandbox_jupyter.exceptions import LocalServerException
from opensandbox_jupyter.hosting.removal import remove_tree
from opensandbox_jupyter.runtime_file import Places, private_directory
from opensandbox_jupyter.server.image_store import ImageStore
from opensandbox_jupyter.server.locks import lock
from opensandbox_jupyter.server.records import Records
from opensandbox_jupyter.server.space import size_of_tree

__all__ = ["Leftover", "clean"]

_OLD = 3600.0
"""Seconds after which a running server or another import is done with what it set aside."""


@dataclass(frozen=True)
class Leftover:
    """Something that was, or would be, removed."""

    what: str
    size: int
    """Bytes on the disk."""


def clean(where: Places, *, dry_run: bool = False) -> Iterator[Leftover]:
    """Remove leftovers and yield each. Blocks.

    Beside a running server only what is old is touched; without one, also the files of sandboxes
    and snapshots that no record knows.
    """
    private_directory(where.data)
    with ExitStack() as held:
        try:
            held.enter_context(lock(where.data / "server.lock"))
            found = [*_rest(where.data, 0.0), *_strangers(where.data)]
        except LocalServerException:
            found = list(_rest(where.data, _OLD))
        for what, path in found:
            leftover = Leftover(what, size_of_tree(path))
            if not dry_run:
                remove_tree(path)
            yield leftover


def _rest(data: Path, age: float) -> Iterator[tuple[str, Path]]:
    """Yield what was set aside to be removed, and imports that were cut off."""
    trash = private_directory(data / "trash")
    found = [("removed files", path) for path in trash.iterdir()]
    found += [("half an import", path) for path in ImageStore(data).halves()]
    for what, path in found:
        if time.time() - path.lstat().st_ctime >= age:
            yield what, path


def _strangers(data: Path) -> Iterator[tuple[str, Path]]:
    base = data / "records.sqlite"
    if not base.exists():
        return
    records = Records(base)
    try:
        known = {record.id for record in records.all()}
        known |= {snapshot.id for snapshot in records.snapshots.all()}
    finally:
        records.close()
    for kind in ("sandboxes", "snapshots"):
        for path in private_directory(data / kind).iterdir():
            if path.name not in known:
                yield f"files of {path.name}", path
