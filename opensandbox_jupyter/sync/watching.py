"""Changes of files, seen by looking again and again.

Generated from ``watching.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    TransferException,
)
from opensandbox_jupyter.models.durations import Duration, lasting
from opensandbox_jupyter.models.filesystem import Change, DirectoryListEntry, EntryInfo, Kind
from opensandbox_jupyter.sync.connection import ConnectionSync
from opensandbox_jupyter.sync.files import FilesSync

__all__ = ["watch"]

_MOST = 100_000
_PATIENCE = 4


def watch(
    connection: ConnectionSync, files: FilesSync, path: str, interval: Duration, depth: int
) -> Generator[Change, None]:
    """Give what changes at or below ``path``; see ``Files.watch``."""
    seconds = lasting(interval, "interval").total_seconds()
    if depth < 1:
        raise InvalidArgumentException("depth must be at least 1.")
    before = _look(files, path, depth)
    while True:
        start = time.monotonic()
        try:
            now = _look(files, path, depth)
        except SandboxApiException as error:
            if error.status_code != 404:
                raise
            now = {}
        took = time.monotonic() - start
        for kind, entry in _changes(before, now):
            yield Change(kind, entry)
        before = now
        connection.transport.pause(max(seconds, took * _PATIENCE))


def _look(files: FilesSync, path: str, depth: int) -> dict[str, EntryInfo]:
    """Return what there is, by path."""
    root = (files.get_file_info([path]))[path]
    if root.entry_type != "directory":
        return {root.path: root}
    entries = files.list_directory(DirectoryListEntry(path=path, depth=depth))
    if len(entries) > _MOST:
        raise TransferException(
            f"{path} holds more than {_MOST} entries.", hint="Watch a part of it, or less depth."
        )
    return {entry.path: entry for entry in [root, *entries]}


def _changes(
    before: Mapping[str, EntryInfo], now: Mapping[str, EntryInfo]
) -> Iterator[tuple[Kind, EntryInfo]]:
    for path, entry in before.items():
        if path not in now:
            yield "deleted", entry
    for path, entry in now.items():
        if path not in before:
            yield "created", entry
        elif _state(entry) != _state(before[path]):
            yield "changed", entry


def _state(entry: EntryInfo) -> tuple[object, ...]:
    """Return what is compared; a directory's time and size only tell of what is in it."""
    lasting = (entry.entry_type, entry.mode, entry.owner, entry.group)
    if entry.entry_type == "directory":
        return lasting
    return (*lasting, entry.size, entry.modified_at)
