"""Where the embedded server keeps its things, and the small file through which it is found.

The file says where the server listens and holds its key, so it is made for its owner alone.
A file is only believed after the server behind its URL proved that it knows the key
(:func:`proof`): a recycled process id or a foreign program on the port proves nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from opensandbox_jupyter.exceptions import LocalServerException

__all__ = ["HOME_VARIABLE", "Places", "RuntimeFile", "places", "private_directory", "proof"]

HOME_VARIABLE = "OPENSANDBOX_JUPYTER_HOME"
"""Moves data, runtime file and log below one directory."""

CHALLENGE_HEADER = "OPENSANDBOX-CHALLENGE"
PROOF_HEADER = "OPENSANDBOX-PROOF"

_NAME = "opensandbox-jupyter"


@dataclass(frozen=True)
class Places:
    """The directories of one user's server: what lasts, what runs, what was said.

    ``cache`` holds what can be made again; the servers of one user may share it.
    """

    data: Path
    run: Path
    log: Path
    cache: Path

    @property
    def runtime_file(self) -> Path:
        """The file that says where the server is."""
        return self.run / "server.json"

    @property
    def server_log(self) -> Path:
        """What a server that was started on demand prints."""
        return self.log / "server.log"


@dataclass(frozen=True)
class RuntimeFile:
    """What the runtime file says. ``api_key`` never shows in a ``repr``."""

    url: str
    pid: int
    version: str
    nonce: str
    api_key: str = field(repr=False)

    def write(self, path: Path) -> None:
        """Put this at ``path``, whole or not at all, readable by its owner only."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> RuntimeFile | None:
        """Return what ``path`` says, or ``None`` when there is nothing to be believed.

        Raises:
            LocalServerException: the file is a link, or somebody else's, or open to others.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _untrusted(path, error.strerror or "it cannot be opened") from error
        with os.fdopen(descriptor, "r", encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise _untrusted(path, "it is not this user's own file")
            if status.st_mode & 0o077:
                raise _untrusted(path, "others may open it")
            try:
                return cls(**json.loads(file.read(65_536)))
            except (ValueError, TypeError):
                return None


def places() -> Places:
    """Return the directories of this user's server; nothing is made."""
    home = os.environ.get(HOME_VARIABLE)
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given, _NAME) if os.path.isabs(given) else None
    if home:
        base = Path(home).absolute()
        return Places(base / "data", base / "run", base / "log", cache or base / "cache")
    if os.geteuid() == 0:
        data, run, log, usual = (
            Path(path, _NAME) for path in ("/var/lib", "/run", "/var/log", "/var/cache")
        )
        return Places(data, run, log, cache or usual)
    import platformdirs

    data = Path(platformdirs.user_data_dir(_NAME, appauthor=False))
    state = Path(platformdirs.user_state_dir(_NAME, appauthor=False))
    usual = Path(platformdirs.user_cache_dir(_NAME, appauthor=False))
    run = _own_runtime_directory() or data / "run"
    return Places(data / "server", run, state, cache or usual)


def _own_runtime_directory() -> Path | None:
    """Return this user's place for what runs; never one that others may make, as in ``/tmp``."""
    for base in (f"/run/user/{os.geteuid()}", os.environ.get("XDG_RUNTIME_DIR", "")):
        try:
            if base and Path(base).lstat().st_uid == os.geteuid():
                return Path(base) / _NAME
        except OSError:
            continue
    return None


def private_directory(path: Path) -> Path:
    """Make ``path`` this user's own directory, closed to others, and return it.

    Raises:
        LocalServerException: it is a link, or somebody else's.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise LocalServerException(
            f"The directory {path} cannot be made: {error.strerror}.",
            cause=error,
            hint=f"Set {HOME_VARIABLE} to a directory of your own.",
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise _untrusted(path, "it is not this user's own directory")
    if status.st_mode & 0o077:
        path.chmod(0o700)
    return path


def proof(api_key: str, nonce: str, challenge: str) -> str:
    """Return what a server that knows ``api_key`` and ``nonce`` answers to ``challenge``."""
    message = f"opensandbox-jupyter/{nonce}/{challenge}".encode()
    return hmac.new(api_key.encode(), message, hashlib.sha256).hexdigest()


def _untrusted(path: Path, why: str) -> LocalServerException:
    return LocalServerException(
        f"{path} is not used, because {why}.", hint="Remove it, then try again."
    )
