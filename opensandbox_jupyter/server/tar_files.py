"""Opens tar files that somebody else has made.

``tarfile`` reads what stands before an entry's content (long names, PAX records, the maps of sparse
files) whole into memory, however long it says it is. Here that is bounded.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Literal, NoReturn

__all__ = ["ArchiveRefused", "opened_tar"]

_MOST_HEADER = 1 << 20
_LONG = frozenset(
    {
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    }
)


class ArchiveRefused(OSError):
    """What is in the archive is too much, or no file system."""


class _Entry(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Entry:
        entry = super().frombuf(buf, encoding, errors)
        if entry.type == tarfile.GNUTYPE_SPARSE:
            cls._refuse_sparse()
        if entry.type in _LONG and entry.size > _MOST_HEADER:
            raise ArchiveRefused(f"The archive has a header of {entry.size} bytes.")
        return entry

    @staticmethod
    def _refuse_sparse(*_: object) -> NoReturn:
        raise ArchiveRefused("The archive has sparse files. Make it without tar's --sparse.")

    # what tarfile calls for maps in PAX records; of the three, the last may have any length
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


@contextmanager
def opened_tar(file: IO[bytes], mode: Literal["r:*", "r|*"]) -> Iterator[tarfile.TarFile]:
    """Open ``file``, compressed or not, as a tar file.

    Raises:
        ArchiveRefused: it is none, or, while it is open, it turns out to be none or too much.
    """
    try:
        with tarfile.open(fileobj=file, mode=mode, tarinfo=_Entry) as archive:
            yield archive
    except OSError:
        raise
    except Exception as error:  # what decompressors and parsers raise has no base in common
        raise ArchiveRefused(f"The archive cannot be read: {error}.") from error
