"""Images that were imported or built here, each a root file system below the data directory.

The command line writes them while a server may be running, so there is no table of them: an image
is there when its directory is, and it gets there by one rename.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from pathlib import Path

import msgspec

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxException
from opensandbox_jupyter.runtime_file import private_directory
from opensandbox_jupyter.server.archives import ImageConfig, unpack
from opensandbox_jupyter.server.clock import wall
from opensandbox_jupyter.server.copying import copy_tree
from opensandbox_jupyter.server.trash import Trash

__all__ = ["ImageStore", "StoredImage"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._/:-]{0,199}")
_ABOUT = "image.json"
_ROOT = "root"
_HALF = ".half-"


class StoredImage(msgspec.Struct, omit_defaults=True):
    """One image: its name, size in bytes, and since when it is here (seconds since 1970)."""

    name: str
    size: int
    created: float
    config: ImageConfig
    base: str = ""
    """The image of this host whose system it lies on; empty when it brings its own."""


class ImageStore:
    """The images below ``data``, the server's data directory. Every method may block."""

    def __init__(self, data: Path) -> None:
        self._homes = private_directory(data / "images")
        self._trash = Trash(data)

    def find(self, name: str) -> StoredImage | None:
        """Return the image of that name, if it is here."""
        return self._read(self._homes / _key(name))

    def all(self) -> list[StoredImage]:
        """Return every image, by name."""
        found = [self._read(path) for path in self._homes.iterdir()]
        return sorted((one for one in found if one is not None), key=lambda one: one.name)

    def tree(self, name: str) -> Path:
        """Return where the files of an image are."""
        return self._homes / _key(name) / _ROOT

    def add_archive(self, archive: Path, name: str) -> StoredImage:
        """Unpack an archive as the image ``name``; one that has the name already is replaced.

        Raises:
            InvalidArgumentException: the name is none.
            SandboxException: the archive is refused, or the disk is full. Nothing is left of it.
        """
        home = self._half(name)
        try:
            (home / _ROOT).mkdir()
            config, size = unpack(archive, home / _ROOT)
            return self._settle(home, StoredImage(name, size, wall(), config))
        except OSError as error:
            raise SandboxException(f"{archive} could not be imported: {error}") from error
        finally:
            self._trash.remove(home)

    def add_tree(self, tree: Path, name: str, config: ImageConfig, base: str) -> StoredImage:
        """Copy ``tree``, in which nothing changes meanwhile, as the image ``name``.

        Raises:
            InvalidArgumentException: the name is none.
            SandboxException: it could not be copied. Nothing is left of it.
        """
        home = self._half(name)
        try:
            size = copy_tree(tree, home / _ROOT)
            return self._settle(home, StoredImage(name, size, wall(), config, base))
        except OSError as error:
            raise SandboxException(f"The image could not be kept: {error}") from error
        finally:
            self._trash.remove(home)

    def remove(self, name: str) -> bool:
        """Remove an image; sandboxes that were made from it go on. Return whether it was here."""
        home = self._homes / _key(name)
        is_here = home.exists()
        self._trash.remove(home)
        return is_here

    def halves(self) -> list[Path]:
        """Return what imports that were cut off have left."""
        return [path for path in self._homes.iterdir() if path.name.startswith(_HALF)]

    @staticmethod
    def check_name(name: str) -> None:
        """Raise ``InvalidArgumentException`` for what is no name of an image."""
        if not _NAME.fullmatch(name):
            raise InvalidArgumentException(
                f"{name[:80]!r} is no name of an image: use small letters, digits and . _ - / :"
            )

    def _half(self, name: str) -> Path:
        self.check_name(name)
        home = self._homes / f"{_HALF}{uuid.uuid4().hex}"
        home.mkdir(mode=0o700)
        return home

    def _settle(self, home: Path, image: StoredImage) -> StoredImage:
        (home / _ABOUT).write_bytes(msgspec.json.encode(image))
        final = self._homes / _key(image.name)
        self._trash.remove(final)
        home.rename(final)
        return image

    def _read(self, home: Path) -> StoredImage | None:
        if home.name.startswith(_HALF):
            return None
        try:
            return msgspec.json.decode((home / _ABOUT).read_bytes(), type=StoredImage)
        except (OSError, msgspec.DecodeError):
            return None


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
