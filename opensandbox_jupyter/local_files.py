"""Files of this machine on their way: read with their hash, and written whole or not at all.

Names that come from a sandbox are hostile; nothing here follows a symbolic link in a folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from opensandbox_jupyter.exceptions import InvalidArgumentException, TransferException

__all__ = [
    "Incoming",
    "Item",
    "Outgoing",
    "Tree",
    "local_errors",
    "make_folder",
    "place_for",
    "safe",
    "scan",
]

PIECE = 1024 * 1024
"""How much is read at once, in bytes."""

_BAD = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REPLACED = "\N{REPLACEMENT CHARACTER}"


@dataclass(slots=True)
class Item:
    """One file to copy: ``mode`` is octal digits, ``stamp`` tells one version from another."""

    local: Path
    remote: str
    size: int
    mode: int
    stamp: str = ""
    digest: str = ""


@dataclass(slots=True)
class Tree:
    """What there is to copy: files, folders with their modes, and what is left out."""

    files: list[Item] = field(default_factory=list)
    folders: list[tuple[str, int]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@contextmanager
def local_errors() -> Iterator[None]:
    """Turn what goes wrong on this machine's disk into an exception of this package."""
    try:
        yield
    except OSError as cause:
        raise TransferException(f"This machine's disk: {cause}", cause=cause) from cause


def scan(local: Path, remote: str) -> Tree:
    """Return what is to be copied from this machine.

    Raises:
        InvalidArgumentException: when there is neither a file nor a folder.
    """
    tree = Tree()
    if local.is_file():
        place = remote + local.name if remote.endswith("/") else remote
        tree.files.append(_item(local, place, local.stat()))
    elif local.is_dir():
        _scan(local, remote.rstrip("/") or "/", tree)
    else:
        raise InvalidArgumentException(f"{local} is neither a file nor a folder of this machine.")
    return tree


def _scan(folder: Path, remote: str, tree: Tree) -> None:
    waiting = [(folder, remote)]
    while waiting:
        folder, remote = waiting.pop()
        tree.folders.append((remote, _digits(folder.stat().st_mode | stat.S_IRWXU)))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                place = f"{remote.rstrip('/')}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), place))
                elif entry.is_file(follow_symlinks=False) and safe(entry.name):
                    info = entry.stat(follow_symlinks=False)
                    tree.files.append(_item(Path(entry.path), place, info))
                else:
                    tree.skipped.append(entry.path)


def _item(local: Path, remote: str, info: os.stat_result) -> Item:
    return Item(local, remote, info.st_size, _digits(info.st_mode))


def _digits(mode: int) -> int:
    return int(f"{mode & 0o777:o}")


def safe(name: str) -> bool:
    """Return whether ``name`` is one plain component of a path, as both sides spell it."""
    if not name or name in (".", "..") or "/" in name or _REPLACED in name:
        return False
    if any(unicodedata.category(c) in _BAD for c in name):
        return False
    return len(name.encode()) <= 255


def make_folder(path: Path, *, parents: bool = False) -> bool:
    """Make a folder; return whether there is one now, and not a link to one elsewhere."""
    path.mkdir(parents=parents, exist_ok=True)
    return parents or not path.is_symlink()


def place_for(local: Path, name: str) -> Path:
    """Return where a file called ``name`` goes: into ``local`` if that is a folder."""
    place = local / name if local.is_dir() and safe(name) else local
    make_folder(place.parent, parents=True)
    return place


class Outgoing:
    """A file of this machine, read once from its beginning."""

    def __init__(self, item: Item) -> None:
        with local_errors():
            self._file = item.local.open("rb", buffering=0)
        self._hash = hashlib.sha256()
        self._item = item
        self._left = item.size

    def read(self) -> bytes:
        """Return the next piece, an empty one at the end; note the hash in the item.

        Raises:
            TransferException: when the file is shorter than it was.
        """
        with local_errors():
            piece = self._file.read(min(PIECE, self._left))
        if not piece and self._left:
            raise TransferException(f"{self._item.local} became shorter while it was read.")
        self._left -= len(piece)
        self._hash.update(piece)
        self._item.digest = self._hash.hexdigest()
        return piece

    def close(self) -> None:
        """Read no more."""
        self._file.close()


class Incoming:
    """A file that is being downloaded into a hidden one beside its place.

    What a download of the same version has left there is kept; ``size`` says how much.

    Raises:
        TransferException: when another download writes it.
    """

    def __init__(self, item: Item) -> None:
        self.item = item
        place = item.local
        mark = f".{_short(place.name)}-"
        self._path = place.with_name(
            f"{mark}{_short(item.remote, str(item.size), item.stamp)}.part"
        )
        self._old = f"{mark}*.part"
        self._hash = hashlib.sha256()
        self.size = 0
        with local_errors():
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self._path, flags, 0o666), "r+b", buffering=0)
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def _take_up(self) -> None:
        with local_errors():
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                raise TransferException(
                    f"Another download writes {self.item.local}.", cause=cause
                ) from cause
            while piece := self._file.read(PIECE):
                self._hash.update(piece)
                self.size += len(piece)
            if self.size > self.item.size:
                self._file.truncate(0)
                self._file.seek(0)
                self._hash, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            TransferException: when they are more than the file was said to have.
        """
        if self.size + len(data) > self.item.size:
            raise TransferException(
                f"{self.item.remote} became longer while it was read.",
                hint="read_stream() reads files that grow.",
            )
        view = memoryview(data)
        with local_errors():
            while view:
                view = view[self._file.write(view) :]
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> None:
        """Note the hash, once all has come.

        Raises:
            TransferException: when there is less than the file was said to have.
        """
        if self.size < self.item.size:
            raise TransferException(f"{self.item.remote} became shorter while it was read.")
        self.item.digest = self._hash.hexdigest()

    def commit(self) -> None:
        """Put the file into its place, at once."""
        with local_errors():
            if self.item.mode // 100 & 1:
                mode = os.fstat(self._file.fileno()).st_mode
                os.fchmod(self._file.fileno(), (mode | (mode & 0o444) >> 2) & 0o777)
            os.replace(self._path, self.item.local)
            for old in self.item.local.parent.glob(self._old):
                old.unlink(missing_ok=True)
        self.close()

    def discard(self) -> None:
        """Forget what has come."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Keep what has come for another time."""
        self._file.close()


def _short(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
