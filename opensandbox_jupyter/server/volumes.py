"""What a sandbox shares with the host or with others: named volumes, and allowed host paths.

A path is walked by descriptor, one name at a time, and no link is followed. bubblewrap takes paths
only, so what it mounted is compared with the descriptor before anything of the sandbox runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from opensandbox_jupyter.runtime_file import private_directory
from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.identity import is_host_root, shared_uid
from opensandbox_jupyter.server.records import Volume
from opensandbox_jupyter.server.trash import Trash

__all__ = ["Held", "Volumes"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_PIN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG})


class Held:
    """The directories of one sandbox's volumes, held open until they are mounted."""

    def __init__(self) -> None:
        self.places: list[tuple[Volume, int]] = []

    def binds(self) -> list[tuple[str, str, bool]]:
        """Return the host path, the path inside, and whether it is read-only, of each."""
        return [
            (os.readlink(f"/proc/self/fd/{pin}"), volume.mount_path, volume.read_only)
            for volume, pin in self.places
        ]

    def verify(self, pid: int) -> None:
        """Make sure that the process ``pid`` sees what is held. Raises: Refusal."""
        for volume, pin in self.places:
            with contextlib.suppress(OSError):
                seen = os.stat(f"/proc/{pid}/root{volume.mount_path}")
                if os.path.samestat(seen, os.fstat(pin)):
                    continue
            raise Refusal(
                400, "VOLUME::INVALID_HOST_PATH", f"The volume {volume.name!r} was moved meanwhile."
            )

    def close(self) -> None:
        """Let go of them."""
        for _, pin in self.places:
            os.close(pin)
        self.places.clear()


class Volumes:
    """The named volumes of this server, and which host paths it may lend."""

    def __init__(self, data: Path, trash: Trash, allowed: Sequence[Path] = ()) -> None:
        self._homes = private_directory(data / "volumes")
        self._trash = trash
        self._allowed = [Path(os.path.realpath(path)) for path in allowed]

    def check(self, volumes: Iterable[Volume]) -> None:
        """Find out early what cannot be mounted. Raises: Refusal."""
        self.hold(volumes).close()

    def hold(self, volumes: Iterable[Volume]) -> Held:
        """Open every directory, and make those that are missing. Raises: Refusal. Blocks."""
        held = Held()
        try:
            for volume in volumes:
                pin = self._open_claim(volume) if volume.claim else self._open_host(volume)
                held.places.append((volume, pin))
        except BaseException:
            held.close()
            raise
        return held

    def drop(self, volumes: Iterable[Volume], used: Collection[str]) -> None:
        """Remove the claims that shall not outlive their sandbox, unless others use them."""
        for volume in volumes:
            if volume.claim and volume.is_temporary and volume.claim not in used:
                with contextlib.suppress(OSError):
                    self._trash.throw(self._homes / volume.claim)

    def _open_claim(self, volume: Volume) -> int:
        if not _NAME.fullmatch(volume.claim):
            raise _refused("INVALID_PVC_NAME", f"{volume.claim!r} is no name of a volume.")
        home = self._homes / volume.claim
        if volume.may_create:
            with contextlib.suppress(FileExistsError):
                home.mkdir(mode=0o755)
                _give(home)
        try:
            top = os.open(home, _PIN)
        except OSError as error:
            raise _refused(
                "PVC_NOT_FOUND", f"There is no volume {volume.claim!r}, and it may not be made."
            ) from error
        return _below(top, volume.parts, make=not volume.read_only, code="INVALID_SUB_PATH")

    def _open_host(self, volume: Volume) -> int:
        path = Path(volume.host)
        for allowed in self._allowed:
            if path.is_relative_to(allowed):
                break
        else:
            raise _refused(
                "HOST_PATH_NOT_ALLOWED",
                f"This server does not lend {volume.host!r}: start it with --allow-host-path.",
            )
        try:
            top = os.open(allowed, _PIN)
        except OSError as error:
            raise _refused("HOST_PATH_NOT_FOUND", f"{allowed} cannot be opened.") from error
        inside = path.relative_to(allowed).parts
        pin = _below(top, inside, make=False, code="HOST_PATH_NOT_FOUND")
        return _below(pin, volume.parts, make=False, code="INVALID_SUB_PATH")


def _below(top: int, parts: Sequence[str], *, make: bool, code: str) -> int:
    """Return the directory at ``parts`` below ``top``, which is closed. Links are refused."""
    here = top
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=here)
                    if is_host_root():
                        uid = shared_uid()
                        os.chown(part, uid, uid, dir_fd=here, follow_symlinks=False)
            below = os.open(part, _PIN, dir_fd=here)
            os.close(here)
            here = below
    except OSError as error:
        os.close(here)
        if error.errno not in _NOT_THERE:
            raise
        raise _refused(
            code, f"{'/'.join(parts)!r} is no directory there, or leads through a link."
        ) from error
    return here


def _give(home: Path) -> None:
    if is_host_root():
        os.chown(home, shared_uid(), shared_uid(), follow_symlinks=False)


def _refused(code: str, message: str) -> Refusal:
    return Refusal(400, f"VOLUME::{code}", message)
