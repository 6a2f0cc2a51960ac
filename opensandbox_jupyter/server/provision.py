"""What a sandbox gets to see of the host: its programs, and the Python that runs execd."""

from __future__ import annotations

import os
import ssl
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from opensandbox_jupyter.server.images import OWN_PYTHON
from opensandbox_jupyter.server.jail import Bind, Programs

__all__ = [
    "EXECD_LIBRARY",
    "HOLDER",
    "SYSTEM",
    "certificates",
    "execd_command",
    "execd_environment",
    "foreign_supplies",
    "own_library",
    "own_python",
    "places",
    "programs",
    "supplies",
    "zygote_command",
    "zygote_environment",
]

EXECD_LIBRARY = "/opt/opensandbox/lib"
"""Where a sandbox sees the modules of its execd, and nothing else of their environment."""

_STAND = "trap '' HUP INT TERM; printf sandbox >/proc/self/comm; while read -r _; do :; done"
HOLDER: tuple[str, ...] = ("/bin/sh", "-c", _STAND)
"""A command that waits for the end of its input, by a name that nobody inside ends by mistake."""

SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin")
_SETTINGS = (
    "/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted", "/etc/ca-certificates",
    "/etc/fonts", "/etc/mime.types",
)  # fmt: skip

_HOST = "/opt/opensandbox/host"
"""Where a sandbox with a system of its own sees what execd needs of the host's."""
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")

_START = """\
import gc, resource, sys
gc.disable()  # what is imported stays
for kind, value in {limits}.items():
    resource.setrlimit(kind, (value, value))
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("500")
sys.path.insert(0, {library!r})
from opensandbox_jupyter.execd.__main__ import main
gc.freeze()
gc.enable()
main()
"""

_ZYGOTE = """\
import gc, os, sys
gc.disable()  # what is imported stays
sys.path.insert(0, os.getcwd())
from opensandbox_jupyter.execd.zygote import main
main()
"""


@cache
def supplies() -> tuple[Bind, ...]:
    """Return every path of the host's system that a sandbox sees, all of them read-only."""
    binds = list(programs().binds)
    binds += [Bind(_real(path), path) for path in _SETTINGS if Path(path).exists()]
    binds.append(Bind(_real(sys.base_prefix), OWN_PYTHON))
    return tuple(binds)


@cache
def programs() -> Programs:
    """Return where the host keeps its programs."""
    here = [Path(path) for path in SYSTEM if Path(path).is_dir()]
    return Programs(
        binds=tuple(Bind(str(path), str(path)) for path in here if not path.is_symlink()),
        links=tuple(Bind(os.readlink(path), str(path)) for path in here if path.is_symlink()),
    )


@cache
def foreign_supplies() -> tuple[Bind, ...]:
    """Return what a sandbox with a system of its own sees of the host: all that execd needs.

    Raises:
        LookupError: the host's own Python cannot be lent to another system.
    """
    _loader()
    binds = [
        bind if bind.target == OWN_PYTHON
        else Bind(bind.source, f"{_HOST}{bind.target}")
        for bind in supplies()
        if bind.target not in _SETTINGS
    ]  # fmt: skip
    return tuple(binds)


def own_python(*, is_foreign: bool) -> tuple[str, ...]:
    """Return the command that runs the Python of this host inside a sandbox.

    Args:
        is_foreign: whether the sandbox has a system, and so a C library, of its own.

    Raises:
        LookupError: the host's own Python cannot be lent to another system.
    """
    python = f"{OWN_PYTHON}/bin/{_python()}"
    if not is_foreign:
        return (python,)
    loader = _loader()
    places = [*own_library().values(), *(f"{_HOST}{path}" for path in _library_directories())]
    return (f"{_HOST}{loader}", "--library-path", ":".join(places), python)


def _python() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


@cache
def _loader() -> str:
    """Return the real path of the program that loads the host's own programs."""
    for path in _LOADERS:
        if Path(path).exists():
            return _real(path)
    raise LookupError(
        "Images with a system of their own need a host with the GNU C library, which this is not."
    )


def _library_directories() -> list[str]:
    found = [os.path.dirname(_loader()), "/usr/lib", "/usr/lib64", "/lib", "/lib64"]
    found += sorted(str(path) for path in Path("/usr/lib").glob("*-linux-gnu"))
    return list(dict.fromkeys(_real(path) for path in found if Path(path).is_dir()))


def execd_command(config: int, limits: Mapping[int, int], python: Sequence[str]) -> tuple[str, ...]:
    """Return the command that runs execd.

    Args:
        config: the descriptor from which execd reads its settings.
        limits: resource limits by kind, which execd sets for itself and all that it starts.
        python: the command that runs Python, see :func:`own_python`.
    """
    start = _START.format(limits=dict(limits), library=EXECD_LIBRARY)
    # Without the site packages of the host's Python, whose .pth files are programs
    return (*python, "-I", "-S", "-B", "-c", start, "--config-fd", str(config))


def zygote_command() -> tuple[str, ...]:
    """Return the command that runs the zygote, outside, in the directory of execd's modules."""
    return (f"{_real(sys.base_prefix)}/bin/{_python()}", "-I", "-S", "-B", "-c", _ZYGOTE)


def zygote_environment() -> dict[str, str]:
    """Return all of the zygote's environment."""
    library = {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR")} if own_library() else {}
    return {**execd_environment(), **library}


def places(library: str) -> dict[str, str]:
    """Return where a sandbox sees execd's modules, and Python, by where they are outside."""
    return {library: EXECD_LIBRARY, _real(sys.base_prefix): OWN_PYTHON}


def certificates() -> bytes:
    """Return the certificates that this host trusts, PEM; nothing where none are found."""
    found = ssl.get_default_verify_paths()
    for path in (found.cafile, *_BUNDLES):
        if path and Path(path).is_file():
            return Path(path).read_bytes().rstrip() + b"\n"
    return b""


def execd_environment() -> dict[str, str]:
    """Return all of execd's own environment."""
    return {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", **own_library()}


@cache
def own_library() -> dict[str, str]:
    """Return the variable without which the host's Python would not find its shared library."""
    library = sysconfig.get_config_var("LDLIBRARY") or ""
    directory = sysconfig.get_config_var("LIBDIR") or ""
    is_shared = bool(sysconfig.get_config_var("Py_ENABLE_SHARED"))
    prefix = Path(sys.base_prefix)
    if not is_shared or prefix == Path("/usr") or not (Path(directory) / library).exists():
        return {}
    try:
        inside = Path(directory).resolve().relative_to(prefix.resolve())
    except ValueError:
        return {}
    return {"LD_LIBRARY_PATH": f"{OWN_PYTHON}/{inside}"}


def _real(path: str) -> str:
    return str(Path(path).resolve())
