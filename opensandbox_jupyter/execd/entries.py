"""What is said of a file, and what may be changed about one: owner, group, mode."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timezone
from itertools import islice

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from opensandbox_jupyter.execd.errors import Refusal

__all__ = ["Describer", "Ownership", "apply", "json_array"]

_BATCH = 1000


class Ownership(msgspec.Struct, kw_only=True):
    """Owner and group by name, and a mode: octal digits read as a decimal number, 0 for as is."""

    owner: str | None = None
    group: str | None = None
    mode: int | None = None

    def bits(self, code: str = "INVALID_REQUEST_BODY") -> int | None:
        """Return the mode as the system wants it, ``None`` to leave it.

        Raises:
            Refusal: 400 with ``code`` when it is not made of octal digits.
        """
        if not self.mode:
            return None
        try:
            bits = int(str(self.mode), 8)
        except ValueError:
            bits = -1
        if not 0 <= bits <= 0o7777:
            raise Refusal(400, code, f"{self.mode} is not a mode: give octal digits, as in 755.")
        return bits & 0o777

    def ids(self, code: str = "INVALID_REQUEST_BODY") -> tuple[int, int]:
        """Return uid and gid, -1 for what is to stay.

        Raises:
            Refusal: 400 with ``code`` for a name that nobody has.
        """
        uid = _number(self.owner, lambda name: pwd.getpwnam(name).pw_uid, "user", code)
        gid = _number(self.group, lambda name: grp.getgrnam(name).gr_gid, "group", code)
        return uid, gid


def _number(name: str | None, look_up: Callable[[str], int], what: str, code: str) -> int:
    if not name:
        return -1
    try:
        return look_up(name)
    except (KeyError, ValueError):
        if name.isascii() and name.isdigit() and len(name) < 10:
            return int(name)  # as reported for an owner without a name
    raise Refusal(400, code, f"There is no {what} {name[:64]}.")


def apply(target: str | int, ownership: Ownership, code: str = "INVALID_REQUEST_BODY") -> None:
    """Change owner, group and mode of a path or descriptor as far as ``ownership`` says.

    Raises:
        Refusal: 400 with ``code``.
        OSError: when the system does not allow it.
    """
    uid, gid = ownership.ids(code)
    bits = ownership.bits(code)
    if (uid, gid) != (-1, -1):
        os.chown(target, uid, gid)
    if bits is not None:
        os.chmod(target, bits)


class Describer:
    """Describes files for one answer, and so looks up every owner only once."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], str] = {}

    def describe(self, path: str, info: os.stat_result) -> dict[str, object]:
        """Return what is said of the file at ``path``."""
        return {
            "path": path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
            "type": _kind(info.st_mode),
            "size": info.st_size,
            "modified_at": _stamp(info.st_mtime_ns),
            "created_at": _stamp(info.st_ctime_ns),
            "owner": self._name("u", info.st_uid),
            "group": self._name("g", info.st_gid),
            "mode": int(f"{info.st_mode & 0o777:o}"),
        }

    def _name(self, kind: str, number: int) -> str:
        name = self._names.get((kind, number))
        if name is None:
            try:
                name = pwd.getpwuid(number)[0] if kind == "u" else grp.getgrgid(number)[0]
            except (KeyError, OverflowError):
                name = str(number)
            self._names[kind, number] = name
        return name


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def _stamp(nanoseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(nanoseconds / 1e9, timezone.utc)
    except (ValueError, OverflowError):
        moment = datetime.fromtimestamp(0, timezone.utc)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def json_array(items: Iterator[dict[str, object]]) -> StreamingResponse:
    """Answer with a JSON array of ``items``, made in a thread and sent piece by piece."""

    def batch() -> bytes:
        return b",".join(map(msgspec.json.encode, islice(items, _BATCH)))

    async def pieces() -> AsyncIterator[bytes]:
        piece = await run_in_threadpool(batch)
        yield b"[" + piece
        while piece := await run_in_threadpool(batch):
            yield b"," + piece
        yield b"]"

    return StreamingResponse(pieces(), media_type="application/json")
