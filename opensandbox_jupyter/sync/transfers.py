"""Files and folders copied between this machine and a sandbox.

Generated from ``transfers.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    SandboxException,
    TransferException,
)
from opensandbox_jupyter.local_files import (
    PIECE,
    Incoming,
    Item,
    Outgoing,
    Tree,
    local_errors,
    make_folder,
    place_for,
    safe,
    scan,
)
from opensandbox_jupyter.models.filesystem import DirectoryListEntry, EntryInfo, WriteEntry
from opensandbox_jupyter.models.transfers import Transfer
from opensandbox_jupyter.sync.commands import CommandsSync
from opensandbox_jupyter.sync.connection import ConnectionSync
from opensandbox_jupyter.sync.files import FilesSync
from opensandbox_jupyter.wire.base import Feed, Origin

__all__ = ["TransfersSync"]

_BATCH = 64
_MOST = 100_000
_DEEPEST = 100
_VARIABLES = ("/$OPENSANDBOX_NO_SUCH_NAME", "/$HOME")
"""Paths that are there only when they are read as others."""

T = TypeVar("T")


class TransfersSync:
    """One upload or download."""

    def __init__(
        self,
        connection: ConnectionSync,
        sandbox: Origin,
        files: FilesSync,
        progress: Callable[[int, int], object] | None,
        verify: bool,
    ) -> None:
        self._transport = connection.transport
        self._commands = CommandsSync(connection, sandbox)
        self._files = files
        self._exact = files.taken_literally()
        self._is_literal: bool | None = None
        self._progress = progress
        self._result = Transfer(verified="sha256" if verify else None)
        self._done = self._total = 0

    def upload(self, local: Path, remote: str) -> Transfer:
        """Copy into the sandbox."""
        tree = self._scan(local, remote)
        names_a_file = not tree.folders and not remote.endswith("/")
        if not names_a_file:
            root = self._resolved(remote)
            tree = tree if root == remote else self._scan(local, root)
            self._leave_out(tree, len(root))
        files = self._files if names_a_file else self._exact
        self._begin(tree)
        for folders in _batches(tree.folders):
            files.create_directories([WriteEntry(path=path, mode=mode) for path, mode in folders])
        for items in _batches(tree.files):
            files.write_feeds(
                [WriteEntry(path=item.remote, mode=item.mode) for item in items],
                [Feed(self._read(item), item.size) for item in items],
            )
            if names_a_file and _is_expanded(remote):
                items[0].remote = (files.get_file_info([remote]))[remote].path
            if self._result.verified:
                self._compare(items, arrived=True)
        return self._result

    def download(self, remote: str, local: Path) -> Transfer:
        """Copy out of the sandbox."""
        tree = self._survey(remote, local)
        self._begin(tree)
        for items in _batches(tree.files):
            incoming: list[Incoming] = []
            try:
                for item in items:
                    incoming.append(self._transport.offload(partial(Incoming, item)))
                    self._fetch(incoming[-1])
                if self._result.verified:
                    self._compare(items, arrived=False)
                for file in incoming:
                    self._transport.offload(file.commit)
            except BaseException as error:
                for file in incoming:
                    if isinstance(error, TransferException) or file.size < PIECE:
                        file.discard()
                    file.close()
                raise
        return self._result

    def _scan(self, local: Path, remote: str) -> Tree:
        with local_errors():
            return self._transport.offload(partial(scan, local, remote))

    def _resolved(self, folder: str) -> str:
        """Return a folder of the sandbox without what a daemon expands in it; it is made then."""
        if not _is_expanded(folder):
            return folder
        self._files.create_directories([WriteEntry(path=folder)])
        path = (self._files.get_file_info([folder]))[folder].path
        return path if not folder.endswith("/") else f"{path.rstrip('/')}/"

    def _takes(self, name: str) -> bool:
        """Return whether the daemon takes ``name`` as it is: others replace ``$NAME``."""
        if "$" not in name:
            return True
        if self._is_literal is None:
            missing = [self._is_missing(path) for path in _VARIABLES]
            self._is_literal = all(missing)
        return self._is_literal

    def _is_missing(self, path: str) -> bool:
        try:
            self._exact.get_file_info([path])
        except SandboxApiException as error:
            return error.status_code == 404
        return False

    def _leave_out(self, tree: Tree, root: int) -> None:
        """Leave out what would arrive under another name; ``root`` is the length of its path."""
        files, tree.files = tree.files, []
        for item in files:
            if self._takes(item.remote[root:]):
                tree.files.append(item)
            else:
                tree.skipped.append(str(item.local))
        tree.folders = [one for one in tree.folders if self._takes(one[0][root:])]

    def _begin(self, tree: Tree) -> None:
        self._result.files = len(tree.files)
        self._result.size = self._total = sum(item.size for item in tree.files)
        self._result.skipped = tree.skipped

    def _moved(self, count: int) -> None:
        self._done += count
        self._transport.tell(self._progress, self._done, self._total)

    def _read(self, item: Item) -> Generator[bytes, None]:
        """Give a file of this machine piece by piece."""
        source = self._transport.offload(partial(Outgoing, item))
        try:
            while piece := self._transport.offload(source.read):
                yield piece
                self._moved(len(piece))
        finally:
            source.close()

    def _fetch(self, file: Incoming) -> None:
        """Receive a file, or the rest of it."""
        self._moved(file.size)
        self._result.resumed += file.size
        if file.size < file.item.size:
            rest = f"bytes={file.size}-" if file.size else None
            held: list[bytes] = []
            for piece in self._exact.read_stream(file.item.remote, range_header=rest):
                held.append(piece)
                self._moved(len(piece))
                if sum(map(len, held)) >= PIECE:
                    self._transport.offload(partial(file.write, b"".join(held)))
                    held.clear()
            self._transport.offload(partial(file.write, b"".join(held)))
        file.finish()

    def _compare(self, items: Sequence[Item], *, arrived: bool) -> None:
        """Compare files here with those in the sandbox."""
        hashes = self._hashes([item.remote for item in items])
        if hashes is not None:
            wrong = [i for i, there in zip(items, hashes, strict=True) if i.digest != there]
        else:
            self._result.verified = "size"
            infos = self._exact.get_file_info([i.remote for i in items]) if arrived else {}
            wrong = [i for i in items if i.remote in infos and infos[i.remote].size != i.size]
        if wrong:
            raise TransferException(
                f"{wrong[0].remote} is not the same on both sides: it changed meanwhile, "
                "or was damaged.",
                hint="Try again when nothing writes to it; verify=False does not compare.",
            )

    def _hashes(self, paths: Sequence[str]) -> list[str] | None:
        """Return SHA-256 as the sandbox computes them; ``None`` when it cannot."""
        try:
            execution = self._commands.run(["sha256sum", "--", *paths])
        except SandboxException:
            return None
        found = [line.removeprefix("\\")[:64] for line in execution.stdout.splitlines()]
        if execution.exit_code != 0 or len(found) != len(paths):
            return None
        return found

    def _survey(self, remote: str, local: Path) -> Tree:
        """Return what there is to copy out of the sandbox; make the folders for it."""
        info = (self._files.get_file_info([remote]))[remote]
        root = info.path if info.path.startswith("/") else remote
        if info.entry_type == "directory":
            return self._survey_folder(root, local)
        if info.entry_type not in ("file", None):
            raise InvalidArgumentException(
                f"{remote} is neither a file nor a directory, but this: {info.entry_type}.",
                hint="Name what a symbolic link leads to.",
            )
        with local_errors():
            place = place_for(local, root.rsplit("/", 1)[-1])
        return Tree(files=[_item(place, root, info)])

    def _survey_folder(self, root: str, local: Path) -> Tree:
        tree = Tree()
        with local_errors():
            make_folder(local, parents=True)
        waiting = [(root, local, 0)]
        seen = 0
        while waiting:
            folder, place, depth = waiting.pop()
            entries = self._exact.list_directory(DirectoryListEntry(path=folder))
            seen += len(entries)
            if seen > _MOST or depth > _DEEPEST:
                raise TransferException(
                    f"{root} holds more than {_MOST} entries, or is deeper than {_DEEPEST}.",
                    hint="Pack it with tar in the sandbox, and download the archive.",
                )
            taken: set[str] = set()
            for entry in entries:
                name = entry.path.rsplit("/", 1)[-1]
                path, target = f"{folder.rstrip('/')}/{name}", place / name
                if not safe(name) or name in taken or not self._takes(name):
                    tree.skipped.append(entry.path)
                elif entry.entry_type == "directory":
                    with local_errors():
                        ours = make_folder(target)
                    waiting += [(path, target, depth + 1)] if ours else []
                    tree.skipped += [] if ours else [entry.path]
                elif entry.entry_type in ("file", None):
                    tree.files.append(_item(target, path, entry))
                else:
                    tree.skipped.append(entry.path)
                taken.add(name)
        return tree


def _item(local: Path, remote: str, info: EntryInfo) -> Item:
    return Item(local, remote, info.size, info.mode, info.modified_at.isoformat())


def _is_expanded(path: str) -> bool:
    """Return whether a daemon reads ``path`` as another one."""
    return "$" in path or path.startswith("~")


def _batches(things: Sequence[T]) -> Iterator[list[T]]:
    left = iter(things)
    while batch := list(islice(left, _BATCH)):
        yield batch
