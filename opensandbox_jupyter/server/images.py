"""What a sandbox can be made from: this host's own file system, and images that were imported.

There is no registry.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from opensandbox_jupyter.server.errors import Refusal

__all__ = ["OWN_PYTHON", "Image", "find_image"]

OWN_PYTHON = "/opt/opensandbox/python"
"""Where a sandbox sees the Python that runs its execd."""

_SYSTEM_DIRECTORIES = "/usr/local/bin:/usr/bin"
_PLAIN = re.compile(r"base|(ubuntu|debian)(:[\w.-]+)?")
_PYTHON = re.compile(r"python(?::(?P<version>\d+(?:\.\d+)?|latest)(?:\.\d+)?(?:-[\w.-]+)?)?")


@dataclass(frozen=True)
class Image:
    """The host's own file system under a name, and the interpreter that ``python3`` shall be."""

    name: str
    interpreter: str
    """The path of the interpreter as the sandbox sees it."""
    version: str
    """Its version, ``"3.11"``."""

    @property
    def is_own(self) -> bool:
        """Whether the interpreter is the one that also runs execd."""
        return self.interpreter.startswith(OWN_PYTHON)


def find_image(uri: str, imported: Iterable[str] = ()) -> Image:
    """Return the image that the host serves under the name ``uri``.

    Raises:
        Refusal: 404, this host does not have it; the message lists what it has, and ``imported``.
    """
    name = uri.rsplit("@", 1)[0].removeprefix("docker.io/").removeprefix("library/")
    python = _PYTHON.fullmatch(name)
    if python is not None:
        wanted = python["version"] or ""
        found = _interpreter("" if wanted == "latest" else wanted)
        if found is not None:
            return Image(uri, *found)
    elif _PLAIN.fullmatch(name) or "code-interpreter" in name:
        found = _interpreter("")
        if found is not None:
            return Image(uri, *found)
    raise Refusal(
        404,
        "DOCKER::SANDBOX_IMAGE_NOT_FOUND",
        f"This host has no image {uri!r}. It serves {', '.join(_served())} from its own file"
        f" system{_and(imported)}. `opensandbox-jupyter image import FILE --name {uri}` adds one.",
    )


def _and(imported: Iterable[str]) -> str:
    names = ", ".join(imported)
    return f", and has imported {names}" if names else ""


def _served() -> list[str]:
    return ["base", "debian", "ubuntu", "code-interpreter", "python", *_python_names()]


def _python_names() -> list[str]:
    versions = {f"{sys.version_info.major}.{sys.version_info.minor}"}
    for directory in _SYSTEM_DIRECTORIES.split(":"):
        for path in Path(directory).glob("python3.*"):
            version = path.name.removeprefix("python")
            if re.fullmatch(r"3\.\d+", version):
                versions.add(version)
    return [f"python:{version}" for version in sorted(versions, key=lambda v: int(v[2:]))]


def _interpreter(wanted: str) -> tuple[str, str] | None:
    """Return path and version of a Python, ``wanted`` being ``""``, ``"3"`` or ``"3.11"``."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if wanted in {"", "3"}:
        path = shutil.which("python3", path=_SYSTEM_DIRECTORIES)
        found = re.fullmatch(r"python(3\.\d+)", Path(path).resolve().name) if path else None
        if found is not None:
            return str(Path(str(path)).resolve()), found[1]
        wanted = own
    path = shutil.which(f"python{wanted}", path=_SYSTEM_DIRECTORIES)
    if path is not None and Path(path).resolve().is_relative_to("/usr"):
        return path, wanted
    return (f"{OWN_PYTHON}/bin/python{own}", own) if wanted == own else None
