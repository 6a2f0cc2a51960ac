"""Unpacks the layers of a root file system without trusting anything in them.

Nothing is opened by a path: each entry's parents are walked from the top, one descriptor at a time,
and links among them are followed as a ``chroot`` would. So no entry lands outside, whatever its
name, and whatever links earlier entries have made.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from opensandbox_jupyter.hosting.removal import remove_tree
from opensandbox_jupyter.server.tar_files import ArchiveRefused, opened_tar

__all__ = ["Unpacking"]

_PIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 1 << 20
_MOST_LINKS = 40
_MOST_DEPTH = 256
_HIDES = ".wh."
_HIDES_ALL = ".wh..wh..opq"
_FREE = 256 << 20
"""Bytes that may come out before anybody asks how many went in."""
_MOST_RATIO = 200
_RESERVE = 1 << 30


class Unpacking:
    """Layers put into ``top``, one above the other. Blocks.

    Args:
        top: an empty directory.
        most_bytes: how much may come out in all.
        most_entries: how many entries there may be in all.
    """

    def __init__(
        self, top: Path, most_bytes: int = 32 << 30, most_entries: int = 2_000_000
    ) -> None:
        self._path = top
        self._top = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        room = os.statvfs(top)
        self._bytes_left = min(most_bytes, room.f_bavail * room.f_frsize - _RESERVE)
        self._entries_left = most_entries
        self.bytes = 0

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._top)

    def add(self, layer: IO[bytes], consumed: Callable[[], int]) -> None:
        """Put one layer on top: a tar file, compressed or not.

        Args:
            layer: the file, read once from its beginning.
            consumed: tells how many bytes of the compressed file have been read so far.

        Raises:
            ArchiveRefused: it is too much, leads nowhere, or is no tar file.
            OSError: it could not be written.
        """
        with opened_tar(layer, "r|*") as archive:
            while (member := archive.next()) is not None:
                self._count()
                self._put(archive, member, consumed)
                archive.members = []  # type: ignore[attr-defined]  # it would keep all

    def _put(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, consumed: Callable[[], int]
    ) -> None:
        parts = _parts(member.name)
        if not parts:
            return
        parent = self._enter(parts[:-1])
        try:
            name = parts[-1]
            if name == _HIDES_ALL:
                self._empty(parent)
            elif name.startswith(_HIDES):
                self._clear(parent, name.removeprefix(_HIDES))
            elif member.isdir():
                self._directory(parent, name, member.mode)
            elif member.isreg():
                self._clear(parent, name)
                self._file(archive, member, parent, name, consumed)
            elif member.issym():
                self._clear(parent, name)
                os.symlink(member.linkname, name, dir_fd=parent)
            elif member.islnk():
                self._link(parent, name, member.linkname)
            elif member.isfifo():
                self._clear(parent, name)
                os.mkfifo(name, member.mode & 0o777, dir_fd=parent)
        finally:
            os.close(parent)

    def _enter(self, parts: Iterable[str]) -> int:
        """Return a descriptor of the directory, made where it is missing."""
        todo, links = list(reversed(list(parts))), 0
        trail = [os.dup(self._top)]
        try:
            while todo:
                part = todo.pop()
                if part == "..":
                    if len(trail) > 1:
                        os.close(trail.pop())
                    continue
                target = self._step(trail, part)
                if target is None:
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise ArchiveRefused("Links of the archive lead in a circle.")
                if target.startswith("/"):
                    while len(trail) > 1:
                        os.close(trail.pop())
                todo += reversed([one for one in target.split("/") if one not in {"", "."}])
            return trail.pop()
        finally:
            for descriptor in trail:
                os.close(descriptor)

    def _step(self, trail: list[int], part: str) -> str | None:
        """Go one directory down, or return where a link in its place leads."""
        if len(trail) > _MOST_DEPTH:
            raise ArchiveRefused(f"The archive is deeper than {_MOST_DEPTH} directories.")
        here = trail[-1]
        with suppress(FileExistsError):
            os.mkdir(part, 0o755, dir_fd=here)
        info = os.stat(part, dir_fd=here, follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            return os.readlink(part, dir_fd=here)
        if not stat.S_ISDIR(info.st_mode):
            raise ArchiveRefused(f"The archive uses the file {part[:64]!r} as a directory.")
        trail.append(os.open(part, _PIN | os.O_DIRECTORY, dir_fd=here))
        return None

    def _directory(self, parent: int, name: str, mode: int) -> None:
        try:
            info = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            if stat.S_ISLNK(info.st_mode):
                return  # what a layer below has made a link stays one
            if not stat.S_ISDIR(info.st_mode):
                os.unlink(name, dir_fd=parent)
                os.mkdir(name, 0o755, dir_fd=parent)
        # its owner must always be able to go on in it
        os.chmod(f"/proc/self/fd/{parent}/{name}", mode & 0o1777 | 0o700, follow_symlinks=True)

    def _file(
        self,
        archive: tarfile.TarFile,
        member: tarfile.TarInfo,
        parent: int,
        name: str,
        consumed: Callable[[], int],
    ) -> None:
        content = archive.extractfile(member)
        if content is None:
            raise ArchiveRefused("The archive has a file without content.")
        with os.fdopen(os.open(name, _NEW, 0o600, dir_fd=parent), "wb", _BLOCK) as writer:
            while block := content.read(_BLOCK):
                self._spend(len(block), consumed())
                if block.strip(b"\0"):
                    writer.write(block)
                else:
                    writer.seek(len(block), os.SEEK_CUR)
            writer.truncate(member.size)
            os.fchmod(writer.fileno(), member.mode & 0o777)

    def _link(self, parent: int, name: str, target: str) -> None:
        parts = _parts(target)
        if not parts:
            raise ArchiveRefused("The archive has a hard link to nothing.")
        source = self._enter(parts[:-1])
        try:
            info = os.stat(parts[-1], dir_fd=source, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                raise ArchiveRefused("The archive has a hard link to a directory.")
            here = os.fstat(source), parts[-1]
            if (here[0].st_ino, here[1]) == (os.fstat(parent).st_ino, name):
                return
            self._clear(parent, name)
            os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            message = f"The archive links to {target[:64]!r}, which is not there."
            raise ArchiveRefused(message) from None
        finally:
            os.close(source)

    def _clear(self, parent: int, name: str) -> None:
        """Remove what is there under that name."""
        if name in {"", ".", ".."}:
            raise ArchiveRefused("The archive hides a directory that has no name.")
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):
            remove_tree(f"/proc/self/fd/{parent}/{name}")

    def _empty(self, parent: int) -> None:
        readable = os.open(f"/proc/self/fd/{parent}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            names = os.listdir(readable)
        finally:
            os.close(readable)
        for name in names:
            self._clear(parent, name)

    def _count(self) -> None:
        self._entries_left -= 1
        if self._entries_left < 0:
            raise ArchiveRefused("The archive has too many entries.")

    def _spend(self, size: int, consumed: int) -> None:
        self.bytes += size
        if self.bytes > self._bytes_left:
            raise ArchiveRefused("The archive is larger than this host allows or has room for.")
        if self.bytes > _FREE and self.bytes > _MOST_RATIO * max(1, consumed):
            raise ArchiveRefused("The archive unpacks to far more than a file system would.")


def _parts(name: str) -> list[str]:
    """Return the parts of an entry's name, which must not lead up."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts or "\0" in name:
        raise ArchiveRefused(f"The archive has an entry that leads out: {name[:80]!r}.")
    return parts
