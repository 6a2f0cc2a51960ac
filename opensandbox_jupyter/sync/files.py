"""Files and directories inside a sandbox.

Generated from ``files.py`` by ``scripts/make_sync.py``: change that file, ``make generate``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import IOBase
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.sync.connection import ConnectionSync
from opensandbox_jupyter.wire.base import Call, Origin

if TYPE_CHECKING:
    from opensandbox_jupyter.models.filesystem import (
        ContentReplaceEntry,
        ContentReplaceResult,
        DirectoryListEntry,
        EntryInfo,
        MoveEntry,
        SearchEntry,
        SetPermissionEntry,
        WriteEntry,
    )

__all__ = ["FilesSync"]

_CHUNK = 65536


class FilesSync:
    """Reads, writes, finds and moves files. Got from ``sandbox.files``.

    Paths may be absolute, or relative to the daemon's working directory; ``~`` and ``$NAME`` are
    expanded in the sandbox. Every method raises ``SandboxApiException`` with status 404 for a path
    that is not there, unless it says otherwise.
    """

    def __init__(self, connection: ConnectionSync, at: Origin) -> None:
        self._connection = connection
        self._at = at

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
    ) -> Iterator[bytes]:
        """Give a file piece by piece; memory stays flat whatever its size.

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
