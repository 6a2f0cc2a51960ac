"""Writing a file so that nobody ever sees half of it."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from types import TracebackType

from opensandbox_jupyter.execd.entries import Ownership, apply
from opensandbox_jupyter.execd.errors import Refusal

__all__ = ["Target"]

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
_CODE = "INVALID_FILE_METADATA"


class Target:
    """A file to be written as a whole; parents are made.

    It is written beside its place and renamed into it by :meth:`commit`. Where no file can be made
    beside it, it is written in place. A symbolic link is followed; an existing file keeps its mode
    and owner unless ``ownership`` says otherwise. Leave it without :meth:`commit`: nothing changes.

    Raises:
        Refusal: 400 when there is something else of that name, or ``ownership`` makes no sense.
        OSError: when it cannot be written.
    """

    def __init__(self, path: str, ownership: Ownership) -> None:
        ownership.bits(_CODE), ownership.ids(_CODE)
        self._ownership = ownership
        self._path = os.path.realpath(path)
        self._before = _existing(self._path)
        self._temporary: str | None = None
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._fd = self._open()

    def _open(self) -> int:
        directory = os.path.dirname(self._path)
        beside = os.path.join(directory, f".upload-{secrets.token_hex(8)}")
        try:
            fd = os.open(beside, _FLAGS | os.O_EXCL, 0o644)
        except PermissionError:
            if self._before is None:
                raise
            return os.open(self._path, _FLAGS | os.O_TRUNC | os.O_NONBLOCK | os.O_NOFOLLOW)
        self._temporary = beside
        return fd

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def commit(self) -> None:
        """Put the file into its place."""
        if self._temporary is not None and self._before is not None:
            self._keep(self._before)
        apply(self._fd, self._ownership, _CODE)
        if self._temporary is not None:
            os.rename(self._temporary, self._path)
            self._temporary = None

    def _keep(self, before: os.stat_result) -> None:
        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
            with suppress(PermissionError):  # only root may give a file away
                os.chown(self._fd, before.st_uid, before.st_gid)
        os.chmod(self._fd, stat.S_IMODE(before.st_mode))

    def close(self) -> None:
        """Let go of the file; what was not committed goes."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temporary is not None:
            with suppress(OSError):  # it may have been removed from inside the sandbox
                os.unlink(self._temporary)
            self._temporary = None

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _existing(path: str) -> os.stat_result | None:
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(info.st_mode):
        what = "a directory" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        raise Refusal(400, "INVALID_FILE", f"{path} is {what}.")
    return info
