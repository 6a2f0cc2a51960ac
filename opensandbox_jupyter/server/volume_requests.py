"""The volumes that a create asks for, checked before anything is done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec

from opensandbox_jupyter.server.errors import Refusal
from opensandbox_jupyter.server.records import Volume

__all__ = ["VolumeRequest", "read_volumes"]

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_CLAIM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_MOST = 32
_TAKEN = (
    "/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt/opensandbox",
    "/opt/venv", "/proc", "/run", "/sbin", "/sys", "/usr",
)  # fmt: skip


class _Host(msgspec.Struct):
    path: str


class _Claim(msgspec.Struct, rename="camel"):
    claim_name: str
    create_if_not_exists: bool = True
    delete_on_sandbox_termination: bool = False


class VolumeRequest(msgspec.Struct, rename="camel"):
    """One entry of ``volumes``. Unknown keys are ignored."""

    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str | None = None
    host: _Host | None = None
    pvc: _Claim | None = None
    ossfs: dict[str, object] | None = None


def read_volumes(wanted: Sequence[VolumeRequest]) -> list[Volume]:
    """Return what is asked for. Raises: Refusal 400 with a ``VOLUME::`` code."""
    if len(wanted) > _MOST:
        raise _refused("INVALID_BACKEND", f"A sandbox may have {_MOST} volumes.")
    found = [_read(volume) for volume in wanted]
    names = [volume.name for volume in found]
    if len(set(names)) < len(names):
        raise _refused("DUPLICATE_NAME", "Two volumes have the same name.")
    paths = [PurePosixPath(volume.mount_path) for volume in found]
    for number, path in enumerate(paths):
        if any(path == other or path in other.parents for other in _others(paths, number)):
            raise _refused("INVALID_MOUNT_PATH", f"Two volumes would share {str(path)!r}.")
    return found


def _others(paths: list[PurePosixPath], number: int) -> list[PurePosixPath]:
    return paths[:number] + paths[number + 1 :]


def _read(volume: VolumeRequest) -> Volume:
    if not _LABEL.fullmatch(volume.name):
        raise _refused("INVALID_NAME", f"{volume.name!r} is no DNS label of at most 63 letters.")
    backends = [volume.host, volume.pvc, volume.ossfs]
    if sum(backend is not None for backend in backends) != 1:
        raise _refused("INVALID_BACKEND", "A volume has exactly one of host, pvc and ossfs.")
    if volume.ossfs is not None:
        raise _refused("UNSUPPORTED_BACKEND", "The embedded server has no ossfs volumes.")
    found = Volume(
        name=volume.name,
        mount_path=_mount_path(volume.mount_path),
        read_only=volume.read_only,
        parts=_parts(volume.sub_path or ""),
    )
    if volume.pvc is not None:
        if not _CLAIM.fullmatch(volume.pvc.claim_name):
            raise _refused("INVALID_PVC_NAME", "`claimName` is letters, digits, '-', '_' and '.'.")
        found.claim = volume.pvc.claim_name
        found.may_create = volume.pvc.create_if_not_exists
        found.is_temporary = volume.pvc.delete_on_sandbox_termination
    elif volume.host is not None:
        found.host = _host_path(volume.host.path)
    return found


def _mount_path(path: str) -> str:
    pure = PurePosixPath(path)
    inside = str(pure)
    if not _is_plain(path) or not pure.is_absolute() or inside in {"/", "//"}:
        raise _refused("INVALID_MOUNT_PATH", "`mountPath` must be an absolute path without '..'.")
    inside = f"/{inside.lstrip('/')}"
    for taken in _TAKEN:
        if PurePosixPath(inside).is_relative_to(taken) or PurePosixPath(taken).is_relative_to(
            inside
        ):
            raise _refused("INVALID_MOUNT_PATH", f"{inside!r} is the sandbox's own.")
    return inside


def _host_path(path: str) -> str:
    if not _is_plain(path) or not path.startswith("/") or path.startswith("//"):
        raise _refused("INVALID_HOST_PATH", "`host.path` must be an absolute path without '..'.")
    return str(PurePosixPath(path))


def _parts(path: str) -> list[str]:
    if not _is_plain(path) or path.startswith("/"):
        raise _refused("INVALID_SUB_PATH", "`subPath` must be a relative path without '..'.")
    return list(PurePosixPath(path).parts)


def _is_plain(path: str) -> bool:
    has_control = any(ord(letter) < 32 or ord(letter) == 127 for letter in path)
    return ".." not in path.split("/") and not has_control and len(path) <= 4000


def _refused(code: str, message: str) -> Refusal:
    return Refusal(400, f"VOLUME::{code}", message)
