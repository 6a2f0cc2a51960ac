"""Copies a tree that a sandbox made, without trusting anything in it.

No link is followed and nothing but regular files is opened; only one directory is open at a time
on each side, however deep the tree is. Data is shared with the original where the file system can,
and holes stay holes. Devices and sockets are left out, and so are extended attributes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CopyRefused", "copy_tree"]

_CLONE = 0x40049409  # FICLONE
_BLOCK = 16 << 20
_PIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_RESERVE = 1 << 30
"""Bytes that must stay free on the disk."""


class CopyRefused(OSError):
    """The tree is larger than allowed, or was changed during the copy."""


def copy_tree(
    source: Path,
    target: Path,
    *,
    uid: int | None = None,
    most_bytes: int = 16 << 30,
    most_entries: int = 2_000_000,
    halt: threading.Event | None = None,
) -> int:
    """Copy ``source`` to ``target``, which must not exist, and return the bytes copied. Blocks.

    Args:
        source: a directory in which nothing changes meanwhile.
        target: where the copy goes; after an error what is there is to be removed.
        uid: who shall own the copy.
        most_bytes: how much data there may be; holes do not count.
        most_entries: how many files, links and directories there may be.
        halt: ends the copy early when it is set.

    Raises:
        CopyRefused: it is too much, or it changed.
        OSError: it could not be read or written.
    """
    stash = target.with_name(f"{target.name}.links")
    stash.mkdir(mode=0o700)
    copy = _Copy(uid, most_bytes, most_entries, halt)
    try:
        copy.run(source, target, stash)
    finally:
        for path in stash.iterdir():
            path.unlink()
        stash.rmdir()
    return copy.bytes


@dataclass
class _Level:
    """A directory that is being copied."""

    info: os.stat_result
    made: os.stat_result
    names: list[str]


class _Copy:
    def __init__(
        self, uid: int | None, most_bytes: int, most_entries: int, halt: threading.Event | None
    ) -> None:
        self._uid = uid
        self._most_bytes = most_bytes
        self._entries_left = most_entries
        self._halt = halt
        self._source = self._target = self._stash = -1
        self.bytes = 0

    def run(self, source: Path, target: Path, stash: Path) -> None:
        target.mkdir(mode=0o700)
        try:
            self._stash = os.open(stash, _DIRECTORY)
            self._source = os.open(source, _DIRECTORY)
            self._target = os.open(target, _DIRECTORY)
            room = os.fstatvfs(self._target)
            self._most_bytes = min(self._most_bytes, room.f_bavail * room.f_frsize - _RESERVE)
            self._walk()
        finally:
            for descriptor in (self._source, self._target, self._stash):
                if descriptor >= 0:
                    os.close(descriptor)

    def _walk(self) -> None:
        levels = [self._level(os.fstat(self._source))]
        while True:
            level = levels[-1]
            if level.names:
                name = level.names.pop()
                self._count()
                info = os.stat(name, dir_fd=self._source, follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    self._descend(name)
                    levels.append(self._level(info))
                else:
                    self._copy_entry(name, info)
                continue
            levels.pop()
            if not levels:
                self._finish(self._target, level.info)
                return
            self._ascend(level, levels[-1])

    def _level(self, info: os.stat_result) -> _Level:
        with os.scandir(self._source) as entries:
            names = [entry.name for entry in entries]
        return _Level(info, os.fstat(self._target), names)

    def _descend(self, name: str) -> None:
        pin = os.open(name, _PIN | os.O_DIRECTORY, dir_fd=self._source)
        try:
            inside = _reopen(pin, _DIRECTORY & ~os.O_NOFOLLOW, 0o700, keep=True)
        finally:
            os.close(pin)
        os.close(self._source)
        self._source = inside
        os.mkdir(name, 0o700, dir_fd=self._target)
        made = os.open(name, _DIRECTORY, dir_fd=self._target)
        os.close(self._target)
        self._target = made

    def _ascend(self, child: _Level, parent: _Level) -> None:
        above = os.open("..", _DIRECTORY, dir_fd=self._source)
        mode = stat.S_IMODE(child.info.st_mode)
        if stat.S_IMODE(os.fstat(self._source).st_mode) != mode:
            os.fchmod(self._source, mode)
        os.close(self._source)
        self._source = above
        beside = os.open("..", _DIRECTORY, dir_fd=self._target)
        self._finish(self._target, child.info)
        os.close(self._target)
        self._target = beside
        if not os.path.samestat(os.fstat(above), parent.info) or not os.path.samestat(
            os.fstat(beside), parent.made
        ):
            raise CopyRefused("The files were moved while they were copied.")

    def _copy_entry(self, name: str, info: os.stat_result) -> None:
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=self._source), name, dir_fd=self._target)
        elif stat.S_ISFIFO(info.st_mode):
            os.mkfifo(name, stat.S_IMODE(info.st_mode) & 0o777, dir_fd=self._target)
        elif stat.S_ISREG(info.st_mode):
            self._copy_file(name)
            return
        else:
            return
        if self._uid is not None:
            os.chown(name, self._uid, self._uid, dir_fd=self._target, follow_symlinks=False)

    def _copy_file(self, name: str) -> None:
        pin = os.open(name, _PIN, dir_fd=self._source)
        try:
            info = os.fstat(pin)
            if not stat.S_ISREG(info.st_mode):
                raise CopyRefused("The files were changed while they were copied.")
            key = f"{info.st_dev}-{info.st_ino}" if info.st_nlink > 1 else ""
            if key and self._link(key, name):
                return
            reader = _reopen(pin, _READ, 0o400)
        finally:
            os.close(pin)
        try:
            writer = os.open(name, _NEW, 0o600, dir_fd=self._target)
            try:
                self._copy_data(reader, writer, info)
                self._finish(writer, info)
            finally:
                os.close(writer)
        finally:
            os.close(reader)
        if key:
            os.link(name, key, src_dir_fd=self._target, dst_dir_fd=self._stash)

    def _link(self, key: str, name: str) -> bool:
        """Make ``name`` another name of a file that was copied already."""
        try:
            os.link(key, name, src_dir_fd=self._stash, dst_dir_fd=self._target)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            os.unlink(key, dir_fd=self._stash)
            return False
        return True

    def _copy_data(self, reader: int, writer: int, info: os.stat_result) -> None:
        try:
            fcntl.ioctl(writer, _CLONE, reader)
        except OSError:
            os.ftruncate(writer, info.st_size)
        else:
            self._spend(info.st_blocks * 512)
            return
        at = 0
        while at < info.st_size:
            try:
                at = os.lseek(reader, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return  # only a hole is left
                raise
            end = os.lseek(reader, at, os.SEEK_HOLE)
            at = self._copy_piece(reader, writer, at, end)

    def _copy_piece(self, reader: int, writer: int, at: int, end: int) -> int:
        while at < end:
            self._spend(min(_BLOCK, end - at))
            done = os.copy_file_range(reader, writer, min(_BLOCK, end - at), at, at)
            if done == 0:
                raise CopyRefused("A file was shortened while it was copied.")
            at += done
        return at

    def _finish(self, made: int, info: os.stat_result) -> None:
        """Give what was made its owner, mode and times; never a set-id bit."""
        if self._uid is not None:
            os.fchown(made, self._uid, self._uid)
        os.utime(made, ns=(info.st_atime_ns, info.st_mtime_ns))
        os.fchmod(made, stat.S_IMODE(info.st_mode) & 0o1777)

    def _count(self) -> None:
        self._entries_left -= 1
        if self._entries_left < 0:
            raise CopyRefused("There are too many files.")
        if self._halt is not None and self._halt.is_set():
            raise CopyRefused("The server ended.")

    def _spend(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self._most_bytes:
            raise CopyRefused("The files are larger than this host allows or has room for.")
        if self._halt is not None and self._halt.is_set():
            raise CopyRefused("The server ended.")


def _reopen(pin: int, flags: int, least: int, *, keep: bool = False) -> int:
    """Open what ``pin`` holds; where its owner closed it to everybody, open it up first.

    With ``keep`` it stays open, and the caller gives it its mode back.
    """
    path = f"/proc/self/fd/{pin}"
    try:
        found = os.open(path, flags)
    except PermissionError:
        found = -1
    mode = stat.S_IMODE(os.fstat(pin).st_mode)
    if found >= 0 and (not keep or mode & least == least):
        return found
    os.chmod(path, mode | least)
    if found < 0:
        found = os.open(path, flags)
    if not keep:
        os.chmod(path, mode)
    return found
