"""The modules that run inside every sandbox, copied once to a directory of their own.

So a sandbox sees one read-only directory and nothing else of the environment that the server was
installed in, and its execd finds every module compiled. Without that each start would compile them
again wherever the installer left that out.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import opensandbox_jupyter
from opensandbox_jupyter.hosting.removal import remove_tree
from opensandbox_jupyter.runtime_file import private_directory
from opensandbox_jupyter.server.jail import CLEAN_PROC

__all__ = ["Library"]

_LOG = logging.getLogger(__name__)
_OWN = ("__init__.py", "constants.py", "exceptions.py", "execd", "hosting")
_MODULES = (
    "msgspec", "starlette", "uvicorn", "h11", "anyio", "idna", "click", "typing_extensions",
    "python_multipart", "multipart", "psutil", "sniffio", "exceptiongroup", "websockets",
)  # fmt: skip
_NOTEBOOK = ".notebook"
"""What code contexts need beside the sandbox's own Python; see ``execd/interpreters.py``."""
_NOTEBOOK_MODULES = (
    "IPython", "asttokens", "decorator", "executing", "ipython_pygments_lexers",
    "matplotlib_inline", "pexpect", "prompt_toolkit", "ptyprocess", "pure_eval", "pygments",
    "stack_data", "traitlets", "typing_extensions", "wcwidth", "exceptiongroup",
)  # fmt: skip
_WHOLE = ".whole"
_LEFT_OUT = frozenset({"tests", "__pycache__"})
_KINDS = (".py", ".so", ".typed", ".json", ".css", ".js")
_COMPILE = """\
import sys
sys.path.insert(0, sys.argv[1])
import opensandbox_jupyter.execd.__main__
"""
_COMPILED = ".compiled"
_COMPILE_REST = f"""\
import compileall, sys
compileall.compile_dir(sys.argv[1], quiet=2)
open(sys.argv[1] + "/{_COMPILED}", "w").close()
"""
_YOUNG_SECONDS = 3600.0


class Library:
    """The copies below ``cache``, a directory of this user's. Made at the first :meth:`path`."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._turn = threading.Lock()
        self._held: int | None = None
        self._path: Path | None = None
        self._compiling: subprocess.Popen[bytes] | None = None

    def path(self) -> Path:
        """Return the directory, made if it is not there yet. Blocks.

        Raises:
            OSError: it cannot be made, for example because the disk is full.
        """
        with self._turn:
            if self._path is None:
                self._path = self._prepare()
            return self._path

    def close(self) -> None:
        """Let another server remove it once it is out of date."""
        with self._turn:
            if self._compiling is not None:
                self._compiling.kill()
                self._compiling.wait()
            if self._held is not None:
                os.close(self._held)
            self._compiling = self._held = None

    def _prepare(self) -> Path:
        home = private_directory(self._cache) / "library"
        home.mkdir(mode=0o700, exist_ok=True)
        files, more = list(_files()), list(_notebook_files())
        path = home / _key([*files, *more])
        if not self._hold(path):
            self._make(path, files)
        _prune(home, path)
        if not (path / _COMPILED).exists():
            threading.Thread(target=self._complete, args=(path, more), daemon=True).start()
        return path

    def _hold(self, path: Path) -> bool:
        """Keep others from removing ``path``. Return whether it is there."""
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                self._held = descriptor
                return True
            os.close(descriptor)
        return False

    def _make(self, path: Path, files: list[tuple[Path, str]]) -> None:
        draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            draft.mkdir()
            self._hold(draft)
            for name in (CLEAN_PROC, _NOTEBOOK):
                (draft / name).mkdir()
            _copy(draft, files)
            _python(_COMPILE, draft).wait()
            draft.rename(path)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if self._held is not None:
                os.close(self._held)
                self._held = None
            if not self._hold(path):  # unless another server has made it meanwhile
                raise

    def _complete(self, path: Path, files: list[tuple[Path, str]]) -> None:
        """Add what only some sandboxes need, and compile it when nobody else wants to work."""
        try:
            if not (path / _NOTEBOOK / _WHOLE).exists():
                _copy(path, files)
                (path / _NOTEBOOK / _WHOLE).touch()
        except OSError as error:
            _LOG.warning("code contexts will do without IPython: %s", error)
        with self._turn:
            if self._held is None:
                return
            self._compiling = compiling = _python(_COMPILE_REST, path, "nice", "-n", "19")
        compiling.wait()


def _files() -> Iterator[tuple[Path, str]]:
    """Yield every file that execd needs, and where to."""
    own = Path(opensandbox_jupyter.__file__).parent
    for name in _OWN:
        yield from _below(own / name, f"{own.name}/{name}")
    for top in _tops(_MODULES):
        yield from _below(top, top.name)


def _notebook_files() -> Iterator[tuple[Path, str]]:
    for top in _tops(_NOTEBOOK_MODULES):
        yield from _below(top, f"{_NOTEBOOK}/{top.name}")


def _below(top: Path, target: str) -> Iterator[tuple[Path, str]]:
    """Yield a module, or all files of a package."""
    if top.is_file():
        yield top, target
    for directory, below, found in os.walk(top):
        below[:] = sorted(name for name in below if name not in _LEFT_OUT)
        inside = os.path.relpath(directory, top)
        for name in sorted(found):
            if name.endswith(_KINDS):
                yield Path(directory, name), os.path.normpath(f"{target}/{inside}/{name}")


def _tops(names: tuple[str, ...]) -> list[Path]:
    """Return the package directories and files of those of ``names`` that are here, sorted."""
    found = set()
    for name in names:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            found.add(origin.parent if spec.submodule_search_locations else origin)
    return sorted(found, key=lambda path: path.name)


def _key(files: list[tuple[Path, str]]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for source, target in files:
        status = source.stat()
        digest.update(f"\0{target}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _copy(draft: Path, files: list[tuple[Path, str]]) -> None:
    """Copy all, with what is compiled of it; a time that is kept is how Python knows that."""
    tag = sys.implementation.cache_tag
    for directory in {(draft / target).parent for _, target in files}:
        (directory / "__pycache__").mkdir(parents=True, exist_ok=True)
    for source, target in files:
        place = draft / target
        _copy_file(source, place)
        compiled = f"__pycache__/{source.stem}.{tag}.pyc"
        with contextlib.suppress(FileNotFoundError):
            _copy_file(source.parent / compiled, place.parent / compiled)
    for path, _, _ in os.walk(draft):
        os.chmod(path, 0o755)  # noqa: S103  # whatever the umask: sandboxes read it


def _copy_file(source: Path, target: Path) -> None:
    """Copy by one rename: another server may be at the same, and a sandbox read it."""
    draft = f"{target}.{threading.get_native_id()}"
    with open(source, "rb", buffering=0) as original, open(draft, "wb", buffering=0) as copy:
        status = os.fstat(original.fileno())
        data = original.read()
        if copy.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fchmod(copy.fileno(), 0o644)
        os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(draft, target)


def _python(program: str, path: Path, *prefix: str) -> subprocess.Popen[bytes]:
    """Start a program of the Python that will run in sandboxes."""
    version = sys.version_info
    python = str(Path(sys.base_prefix, "bin", f"python{version.major}.{version.minor}"))
    return subprocess.Popen(
        ["/usr/bin/env", *prefix, python, "-I", "-c", program, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        umask=0o022,
    )


def _prune(home: Path, kept: Path) -> None:
    """Remove the copies that no server holds any more, but for what has only just begun."""
    for path in home.iterdir():
        with contextlib.suppress(OSError):
            if path == kept or time.time() - path.stat().st_mtime < _YOUNG_SECONDS:
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
            finally:
                os.close(descriptor)
