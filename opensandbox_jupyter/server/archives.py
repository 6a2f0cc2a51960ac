"""Archives of root file systems: a container's export, ``docker save``, an OCI layout as a tar."""

from __future__ import annotations

import platform
import tarfile
from pathlib import Path
from typing import IO, Any

import msgspec

from opensandbox_jupyter.server.tar_files import ArchiveRefused, opened_tar
from opensandbox_jupyter.server.unpacking import Unpacking

__all__ = ["ImageConfig", "unpack"]

_MOST_JSON = 4 << 20
_MOST_LAYERS = 512
_MOST_PARTS = 10_000
_INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class ImageConfig(msgspec.Struct, omit_defaults=True):
    """What an image says of how its programs want to be run."""

    env: dict[str, str] = {}
    cwd: str = ""
    entrypoint: list[str] = []


def unpack(archive: Path, target: Path) -> tuple[ImageConfig, int]:
    """Unpack ``archive`` into the empty directory ``target``; return its config and its bytes.

    Blocks.

    Raises:
        ArchiveRefused: it is none, is hostile, or is made for another processor.
        OSError: it could not be read, or what comes out not be written.
    """
    unpacking = Unpacking(target)
    try:
        with archive.open("rb") as file:
            if not _has_manifest(file):
                file.seek(0)
                unpacking.add(file, file.tell)
                return ImageConfig(), unpacking.bytes
            file.seek(0)
            with opened_tar(file, "r:*") as container:
                config, layers = _image(container)
                for name in layers:
                    layer = _member(container, name)
                    unpacking.add(layer, file.tell if _is_packed(file) else layer.tell)
        return config, unpacking.bytes
    finally:
        unpacking.close()


def _has_manifest(file: IO[bytes]) -> bool:
    """Whether the archive holds layers. A file system is recognised by its first entries."""
    with opened_tar(file, "r|*") as archive:
        for number, member in enumerate(archive):
            name = member.name.removeprefix("./")
            if name in {"manifest.json", "index.json", "oci-layout"} or name.startswith(
                "blobs/sha256"
            ):
                return True
            if name.endswith(("/layer.tar", "/VERSION")) and name.count("/") == 1:
                return True
            if number > 64:
                return False
    return False


def _is_packed(file: IO[bytes]) -> bool:
    here = file.tell()
    file.seek(257)
    is_plain = file.read(5) == b"ustar"
    file.seek(here)
    return not is_plain


def _image(container: tarfile.TarFile) -> tuple[ImageConfig, list[str]]:
    """Return the config and the names of the layers, the lowest first."""
    names = set()
    for member in container:
        names.add(member.name.removeprefix("./"))
        if len(names) > _MOST_PARTS:
            raise ArchiveRefused(f"The archive has over {_MOST_PARTS} parts.")
    if "manifest.json" in names:
        manifests = _json(container, "manifest.json")
        first = manifests[0] if isinstance(manifests, list) and manifests else {}
        config, layers = _text(first, "Config"), _list(first, "Layers")
    else:
        manifest = _json(container, _blob(_ours(container, _json(container, "index.json"))))
        config = _blob(_dict(manifest, "config"))
        layers = [_blob(layer) for layer in _list(manifest, "layers")]
    if not layers or len(layers) > _MOST_LAYERS:
        raise ArchiveRefused("The archive has no layers, or too many.")
    return _config(_json(container, config)), [str(layer) for layer in layers]


def _ours(container: tarfile.TarFile, index: Any, depth: int = 0) -> dict[str, Any]:
    """Return the descriptor of the manifest for this machine."""
    here = _ARCHITECTURES.get(platform.machine(), platform.machine())
    found = [one for one in _list(index, "manifests") if isinstance(one, dict)]
    for one in found:
        wanted = one.get("platform") or {}
        if wanted.get("architecture", here) == here and wanted.get("os", "linux") == "linux":
            if one.get("mediaType") in _INDEXES and depth < 4:
                return _ours(container, _json(container, _blob(one)), depth + 1)
            return one
    raise ArchiveRefused(f"The archive has no image for linux/{here}.")


def _config(document: Any) -> ImageConfig:
    here = _ARCHITECTURES.get(platform.machine(), platform.machine())
    if isinstance(document, dict) and document.get("architecture", here) != here:
        raise ArchiveRefused(
            f"The image is made for {document['architecture']}, and this machine is {here}."
        )
    config = _dict(document, "config", optional=True)
    pairs = [str(pair).partition("=") for pair in config.get("Env") or []]
    entrypoint = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    return ImageConfig(
        env={name: value for name, _, value in pairs if name and "\0" not in name + value},
        cwd=str(config.get("WorkingDir") or ""),
        entrypoint=[str(word) for word in entrypoint],
    )


def _json(container: tarfile.TarFile, name: str) -> Any:
    try:
        return msgspec.json.decode(_member(container, name).read(_MOST_JSON))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArchiveRefused(f"{name[:80]} of the archive is no JSON: {error}.") from error


def _member(container: tarfile.TarFile, name: str) -> IO[bytes]:
    for spelling in (name, f"./{name}"):
        try:
            found = container.extractfile(spelling)
        except KeyError:
            continue
        if found is not None:
            return found
    raise ArchiveRefused(f"The archive lacks its own part {name[:80]!r}.")


def _blob(descriptor: Any) -> str:
    kind, _, digest = _text(descriptor, "digest").partition(":")
    return f"blobs/{kind}/{digest}"


def _text(document: Any, key: str) -> str:
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, str):
        raise ArchiveRefused(f"The archive's manifest names no {key}.")
    return value


def _list(document: Any, key: str) -> list[Any]:
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, list):
        raise ArchiveRefused(f"The archive's manifest names no {key}.")
    return value


def _dict(document: Any, key: str, *, optional: bool = False) -> dict[str, Any]:
    value = document.get(key) if isinstance(document, dict) else None
    if value is None and optional:
        return {}
    if not isinstance(value, dict):
        raise ArchiveRefused(f"The archive's manifest names no {key}.")
    return value
