"""The whole output of every run, on disk, private to the user and bounded.

A session (one kernel) has a folder; a run has two files in it: ``12.log`` with its bytes in the
order in which they came, and ``12.marks`` that tells which of them were standard error. A session
keeps its folder locked while it lives, so that another one never removes it.
"""

from __future__ import annotations

import codecs
import os
import shutil
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

from opensandbox_jupyter.runtime_file import HOME_VARIABLE

__all__ = ["Spool", "Spools", "home"]

QUOTA = 2 * 1024**3
"""How many bytes all sessions together may leave behind."""

_MARK = struct.Struct("<QB")
_BLOCK = 1 << 16
_LOCK = "lock"


def home() -> Path:
    """Return where state is kept: ``OPENSANDBOX_JUPYTER_HOME``, else the user's state directory."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named)
    from platformdirs import user_state_path

    return user_state_path("opensandbox-jupyter")


class Spools:
    """The folder of one kernel.

    Args:
        root: the folder of all sessions.
        quota: how many bytes they may hold together; the oldest are removed beyond it.
    """

    def __init__(self, root: Path, quota: int = QUOTA) -> None:
        self._quota = quota
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self.folder = root / f"{stamp}-{os.getpid()}-{os.urandom(3).hex()}"
        self.folder.mkdir(mode=0o700)
        self._lock = _open_private(self.folder / _LOCK)
        _locked(self._lock.fileno())
        self._spools: list[Spool] = []
        _prune(root, quota, keep=self.folder)

    def spool(self, number: int) -> Spool:
        """Begin the spool of a run. Old runs of this session make room for it if need be."""
        cap = max(self._quota // 4, 1)
        held = sum(s.size for s in self._spools)
        for old in [s for s in self._spools if s.closed]:
            if held <= self._quota - cap:
                break
            held -= old.size
            old.remove()
            self._spools.remove(old)
        spool = Spool(self.folder / f"{number}.log", cap)
        self._spools.append(spool)
        return spool

    def close(self) -> None:
        """Finish all files and let go of the folder."""
        for spool in self._spools:
            spool.close()
        self._lock.close()
        if not self._spools:
            shutil.rmtree(self.folder, ignore_errors=True)


class Spool:
    """The output of one run. May be written and read from different threads.

    Args:
        path: the file; created with mode 0600.
        cap: how many bytes it may hold; what comes later is counted but not kept.
    """

    def __init__(self, path: Path, cap: int) -> None:
        self.path = path
        self.size = 0
        self.closed = False
        self.full: str | None = None
        """Why the end of the output is missing, if it is."""
        self._cap = cap
        self._guard = threading.Lock()
        self._file = _open_private(path)
        self._marks = _open_private(path.with_suffix(".marks"))
        self._is_error: bool | None = None

    def write(self, text: str, is_error: bool = False) -> int:
        """Append output; return how many bytes it is. A full disk never ends a run."""
        data = text.encode("utf-8", "backslashreplace")
        with self._guard:
            if self.full or self.closed:
                return len(data)
            room = self._cap - self.size
            try:
                self._append(data[:room], is_error)
                if len(data) > room:
                    self._fill(f"more than {self._cap} bytes")
            except OSError as error:
                self._fill(error.strerror or "the disk failed")
        return len(data)

    def read(self, limit: int, is_error: bool | None = None) -> str:
        """Return the first ``limit`` bytes of one stream, or of both, as text."""
        parts, held = [], 0
        for data, error in self._blocks():
            if is_error is not None and error is not is_error:
                continue
            parts.append(data[: limit - held])
            held += len(parts[-1])
            if held >= limit:
                break
        return b"".join(parts).decode("utf-8", "replace")

    def pieces(self) -> Iterator[tuple[str, bool]]:
        """Give all of it as text, in order, each piece with whether it is standard error."""
        decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in range(2)]
        for data, is_error in self._blocks():
            yield decoders[is_error].decode(data), is_error

    def open(self) -> IO[str]:
        """Open all of it for reading, as text with its line ends as they came."""
        self.flush()
        return self.path.open(encoding="utf-8", errors="replace", newline="")

    def flush(self) -> None:
        """Make what was written readable."""
        with self._guard, suppress(OSError, ValueError):
            self._file.flush()
            self._marks.flush()

    def close(self) -> None:
        """Finish the files."""
        with self._guard, suppress(OSError):
            self.closed = True
            self._file.close()
            self._marks.close()

    def remove(self) -> None:
        """Delete the files."""
        self.close()
        self.size = 0
        for path in (self.path, self.path.with_suffix(".marks")):
            path.unlink(missing_ok=True)

    def _append(self, data: bytes, is_error: bool) -> None:
        if data and is_error is not self._is_error:
            self._marks.write(_MARK.pack(self.size, is_error))
            self._is_error = is_error
        self._file.write(data)
        self.size += len(data)

    def _fill(self, reason: str) -> None:
        self.full = reason
        with suppress(OSError):
            self._append(f"\n[the rest was not kept: {reason}]\n".encode(), False)

    def _spans(self) -> Iterator[tuple[int, int, bool]]:
        """Give (start, end, is_error) for each stretch of one stream."""
        raw = self.path.with_suffix(".marks").read_bytes()
        marks = list(_MARK.iter_unpack(raw[: len(raw) // _MARK.size * _MARK.size]))
        ends = [start for start, _ in marks[1:]] + [self.size]
        for (start, is_error), end in zip(marks, ends, strict=False):
            yield start, end, bool(is_error)

    def _blocks(self) -> Iterator[tuple[bytes, bool]]:
        self.flush()
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for start, end, is_error in self._spans():
                file.seek(start)
                left = end - start
                while left > 0 and (data := file.read(min(_BLOCK, left))):
                    left -= len(data)
                    yield data, is_error


def _open_private(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb", buffering=_BLOCK)


def _locked(descriptor: int) -> bool:
    """Take the lock of a session's folder; tell whether it was free."""
    try:
        import fcntl
    except ImportError:  # not on Windows: there, an open file cannot be deleted anyway
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _prune(root: Path, quota: int, keep: Path) -> None:
    """Remove the oldest sessions that have ended until the rest fits into the quota."""
    folders = sorted((p for p in root.iterdir() if p.is_dir() and p != keep), reverse=True)
    held = 0
    for folder in folders:
        held += _size(folder)
        if held > quota and not _in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> int:
    with suppress(OSError):
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    return 0


def _in_use(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / _LOCK, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)
