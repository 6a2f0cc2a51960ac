"""Files and directories inside a sandbox.

Generated from ``files.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from io import IOBase
from pathlib import Path
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.models.durations import Duration
from opensandbox_jupyter.sync.connection import ConnectionSync
from opensandbox_jupyter.wire.base import Call, Feed, Origin

if TYPE_CHECKING:
    from opensandbox_jupyter.models.filesystem import (
        Change,
        ContentReplaceEntry,
        ContentReplaceResult,
        DirectoryListEntry,
        EntryInfo,
        MoveEntry,
        SearchEntry,
        SetPermissionEntry,
        WriteEntry,
    )
    from opensandbox_jupyter.models.transfers import Transfer
    from opensandbox_jupyter.transport.blocking import Pieces

__all__ = ["FilesSync"]

_CHUNK = 65536


class FilesSync:
    """Reads, writes, finds and moves files. Got from ``sandbox.files``.

    Paths may be absolute, or relative to the daemon's working directory; ``~`` and ``$NAME`` are
    expanded in the sandbox. Every method raises ``SandboxApiException`` with status 404 for a path
    that is not there, unless it says otherwise.
    """

    def __init__(
        self, connection: ConnectionSync, at: Origin, identity: tuple[int, int] | None = None
    ) -> None:
        self._connection = connection
        self._sandbox = self._at = at
        if identity is not None:
            self._at = connection.protocol.with_identity(at, *identity)

    def with_identity(self, uid: int, gid: int) -> FilesSync:
        """Return the files as a user and group of the sandbox see them, by number.

        A daemon that knows no identities refuses each call with status 404.
        """
        return FilesSync(self._connection, self._sandbox, (uid, gid))

    def taken_literally(self) -> FilesSync:
        """Return the files with ``~`` and ``$NAME`` in paths taken as they are.

        Daemons other than ours expand them all the same.
        """
        same = FilesSync(self._connection, self._sandbox)
        same._at = self._connection.protocol.literal_paths(self._at)
        return same

    def read_file(
        self,
        path: str,
        *,
        encoding: str = "utf-8",
        range_header: str | None = None,
        offset: int | None = None,
        limit: int | None = None,
    ) -> str:
        """Return a file as text.

        Args:
            path: the file.
            encoding: how its bytes are read.
            range_header: a byte range such as ``bytes=0-1023``.
            offset: the first line, counted from 1.
            limit: how many lines at most.

        Raises:
            InvalidArgumentException: when the bytes are not text in ``encoding``.
        """
        data = self.read_bytes(path, range_header=range_header, offset=offset, limit=limit)
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError) as cause:
            raise InvalidArgumentException(
                f"{path} cannot be read as {encoding}: {cause}",
                cause=cause,
                hint="read_bytes() gives it as it is.",
            ) from cause

    def read_bytes(
        self,
        path: str,
        *,
        range_header: str | None = None,
        offset: int | None = None,
        limit: int | None = None,
    ) -> bytes:
        """Return a file, or a byte range or some lines of it, as bytes."""
        call = self._download(path, range_header, offset, limit)
        return self._connection.transport.read(call)

    def read_bytes_stream(
        self,
        path: str,
        *,
        chunk_size: int = _CHUNK,
        range_header: str | None = None,
        offset: int | None = None,
        limit: int | None = None,
    ) -> Pieces[bytes]:
        """Give a file in pieces of equal size; memory stays flat whatever its size.

        Args:
            path: the file.
            chunk_size: the size of each piece but the last, in bytes.
            range_header: a byte range such as ``bytes=0-1023``.
            offset: the first line, counted from 1.
            limit: how many lines at most.
        """
        if chunk_size < 1:
            raise InvalidArgumentException("chunk_size must be at least 1 byte.")
        call = self._download(path, range_header, offset, limit)
        return self._connection.transport.give(self._cut(call, chunk_size))

    def read_stream(self, path: str, *, range_header: str | None = None) -> Pieces[bytes]:
        """Give a file in pieces as they come; memory stays flat."""
        call = self._download(path, range_header, None, None)
        return self._connection.transport.give(self._raw(call))

    def write_stream(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        size: int | None = None,
        mode: int = 755,
        owner: str | None = None,
        group: str | None = None,
    ) -> None:
        """Write one file from pieces, taken one after another; memory stays flat.

        Args:
            path: the file; what it held is replaced once all has come.
            chunks: the pieces.
            size: how many bytes they are together, if it is known. Some proxies need it.
            mode: octal digits as a decimal number (755 is rwxr-xr-x); 0 leaves it as it is.
            owner: the owner's name.
            group: the group's name.

        Raises:
            SandboxConnectionException: when the pieces are not ``size`` bytes.
        """
        from opensandbox_jupyter.models.filesystem import WriteEntry

        entry = WriteEntry(path=path, mode=mode, owner=owner, group=group)
        self.write_feeds([entry], [Feed(chunks, size)])

    def write_feeds(self, entries: Sequence[WriteEntry], feeds: Sequence[Feed]) -> None:
        """Write files from pieces in one request: a feed for each entry, in their order."""
        operation = self._connection.protocol.upload(self._at, entries, feeds)
        self._connection.transport.run(operation)

    def upload(
        self,
        local: str | Path,
        remote: str,
        *,
        progress: Callable[[int, int], object] | None = None,
        verify: bool = True,
    ) -> Transfer:
        """Copy a file or a folder of this machine into the sandbox.

        A file goes to ``remote``; what a folder holds goes into the folder ``remote``. Symbolic
        links in a folder, and what is neither file nor folder, are not copied: the result names
        them. Modes are kept.

        Args:
            local: the file or folder.
            remote: where it goes in the sandbox; parent directories are made.
            progress: called with the bytes done and the bytes in all, as they move.
            verify: compare SHA-256 with the sandbox's ``sha256sum``, or only sizes where there is
                none; the result says which. The sandbox's word is taken: it guards against damage.

        Raises:
            InvalidArgumentException: when there is no such file or folder here.
            TransferException: when what arrived is not what was sent.
        """
        from opensandbox_jupyter.sync.transfers import TransfersSync

        transfers = TransfersSync(self._connection, self._sandbox, self, progress, verify)
        return transfers.upload(Path(local), remote)

    def download(
        self,
        remote: str,
        local: str | Path,
        *,
        progress: Callable[[int, int], object] | None = None,
        verify: bool = True,
    ) -> Transfer:
        """Copy a file or a folder of the sandbox to this machine.

        A file goes to ``local``, or into it if it is a folder; what a folder holds goes into the
        folder ``local``. Nothing is ever written elsewhere: symbolic links in a folder, and names
        that could lead astray, are not copied, and the result names them. A file is in its place
        only once it is whole. One that broke off leaves a hidden ``.part`` file beside it, from
        which the next download goes on if the file in the sandbox has the same size and time.

        Args:
            remote: the file or folder.
            local: where it goes on this machine; parent directories are made.
            progress: called with the bytes done and the bytes in all, as they move.
            verify: compare SHA-256 with the sandbox's ``sha256sum``, or only sizes where there is
                none; the result says which.

        Raises:
            SandboxApiException: with status 404 when there is no such file or folder.
            TransferException: when what arrived is not what is there, or is too much.
        """
        from opensandbox_jupyter.sync.transfers import TransfersSync

        transfers = TransfersSync(self._connection, self._sandbox, self, progress, verify)
        return transfers.download(remote, Path(local))

    def watch(self, path: str, *, interval: Duration = 0.5, depth: int = 16) -> Pieces[Change]:
        """Give what changes at or below a path, from now on, until the loop is left.

        The daemon cannot tell of changes, so it is asked again and again: what comes and goes
        within one ``interval`` is not seen. Waiting takes at least four times as long as asking.

        Args:
            path: a file or a directory.
            interval: seconds, or a timedelta, between two looks.
            depth: how many levels below a directory.

        Raises:
            SandboxApiException: with status 404 when there is no such path at the beginning.
            TransferException: when there are more than 100,000 entries to look at.
        """
        from opensandbox_jupyter.sync.watching import watch

        return self._connection.transport.give(watch(self._connection, self, path, interval, depth))

    def _raw(self, call: Call) -> Generator[bytes, None]:
        with self._connection.transport.stream(call) as chunks:
            yield from chunks

    def _cut(self, call: Call, chunk_size: int) -> Generator[bytes, None]:
        held: list[bytes] = []
        size = 0
        with self._connection.transport.stream(call) as chunks:
            for chunk in chunks:
                held.append(chunk)
                size += len(chunk)
                if size < chunk_size:
                    continue
                block = b"".join(held)
                whole = size - size % chunk_size
                for start in range(0, whole, chunk_size):
                    yield block[start : start + chunk_size]
                held, size = [block[whole:]], size - whole
        if size:
            yield b"".join(held)

    def write_files(self, entries: Sequence[WriteEntry]) -> None:
        """Write files, in one request; parent directories are made.

        Raises:
            InvalidArgumentException: for an entry without data, or text that does not fit its
                encoding.
        """
        if entries:
            operation = self._connection.protocol.upload(self._at, entries)
            self._connection.transport.run(operation)

    def write_file(
        self,
        path: str,
        data: str | bytes | IOBase,
        *,
        encoding: str = "utf-8",
        mode: int = 755,
        owner: str | None = None,
        group: str | None = None,
    ) -> None:
        """Write one file; parent directories are made.

        Args:
            path: the file; what it held is replaced.
            data: text, bytes, or an open file.
            encoding: how text becomes bytes.
            mode: octal digits as a decimal number (755 is rwxr-xr-x); 0 leaves it as it is.
            owner: the owner's name.
            group: the group's name.
        """
        from opensandbox_jupyter.models.filesystem import WriteEntry

        entry = WriteEntry(
            path=path, data=data, encoding=encoding, mode=mode, owner=owner, group=group
        )
        self.write_files([entry])

    def create_directories(self, entries: Sequence[WriteEntry]) -> None:
        """Make directories with their parents; one that is there is left as it is."""
        operation = self._connection.protocol.make_directories(self._at, entries)
        self._connection.transport.run(operation)

    def delete_files(self, paths: Sequence[str]) -> None:
        """Delete files; one that is not there is passed over."""
        operation = self._connection.protocol.delete_files(self._at, _list(paths))
        self._connection.transport.run(operation)

    def delete_directories(self, paths: Sequence[str]) -> None:
        """Delete directories with all that is in them; one that is not there is passed over."""
        operation = self._connection.protocol.delete_directories(self._at, _list(paths))
        self._connection.transport.run(operation)

    def move_files(self, entries: Sequence[MoveEntry]) -> None:
        """Move files and directories; parents of a target are made, a target must not exist."""
        operation = self._connection.protocol.move(self._at, entries)
        self._connection.transport.run(operation)

    def set_permissions(self, entries: Sequence[SetPermissionEntry]) -> None:
        """Set owner, group and mode of paths."""
        operation = self._connection.protocol.set_permissions(self._at, entries)
        self._connection.transport.run(operation)

    def replace_contents(self, entries: Sequence[ContentReplaceEntry]) -> None:
        """Replace text in files, every occurrence, taken literally."""
        self.replace_contents_detailed(entries)

    def replace_contents_detailed(
        self, entries: Sequence[ContentReplaceEntry]
    ) -> list[ContentReplaceResult]:
        """Replace text in files and return how often, file by file."""
        operation = self._connection.protocol.replace(self._at, entries)
        return self._connection.transport.run(operation)

    def search(self, entry: SearchEntry) -> list[EntryInfo]:
        """Return the files below ``entry.path`` whose names match ``entry.pattern``."""
        operation = self._connection.protocol.search(self._at, entry)
        return self._connection.transport.run(operation)

    def list_directory(self, entry: DirectoryListEntry) -> list[EntryInfo]:
        """Return what is in a directory, ``entry.depth`` levels deep."""
        operation = self._connection.protocol.list_directory(self._at, entry)
        return self._connection.transport.run(operation)

    def get_file_info(self, paths: Sequence[str]) -> dict[str, EntryInfo]:
        """Return what is known about paths, by path; links are not followed."""
        operation = self._connection.protocol.file_info(self._at, _list(paths))
        return self._connection.transport.run(operation)

    def _download(
        self, path: str, range_header: str | None, offset: int | None, limit: int | None
    ) -> Call:
        lines = {"offset": offset, "limit": limit}
        query = [(name, str(number)) for name, number in lines.items() if number is not None]
        return self._connection.protocol.download(
            self._at, path, query=query, range_header=range_header
        )


def _list(paths: Sequence[str]) -> Sequence[str]:
    """Return ``paths``; a single text would be taken apart into letters."""
    if isinstance(paths, str):
        raise InvalidArgumentException("paths must be a list of paths.", hint=f"Use [{paths!r}].")
    return paths
