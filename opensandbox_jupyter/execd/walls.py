"""The walls of an isolated session: what is asked for, checked, and bubblewrap's options for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from opensandbox_jupyter.execd.errors import Refusal, bad_request
from opensandbox_jupyter.execd.overlays import Source
from opensandbox_jupyter.execd.settings import Nesting

__all__ = ["SessionRequest", "options"]

_MOST_MOUNTS = 16
_MOST_SECONDS = 10 * 365 * 86_400
_MAX_ID = 2**32 - 2
_CLOSED = ("/proc", "/dev", "/sys", "/opt/opensandbox")
_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/etc", "/opt")
_SCRATCH = ("/tmp", "/run", "/root")  # noqa: S108
_SCRATCH_BYTES = 256 << 20
_ALWAYS_PASSED = frozenset({"PATH", "LANG", "TERM", "HOME", "LD_LIBRARY_PATH"})


class Mount(msgspec.Struct, omit_defaults=True):
    """A directory that the session sees where the sandbox has it."""

    path: str
    mode: str | None = None
    persist: bool | None = None

    def check(self) -> None:
        """Refuse what makes no sense or cannot be done. Raises: Refusal."""
        if self.mode not in (None, "rw", "ro", "overlay"):
            raise bad_request("mode must be rw, ro or overlay.")
        if self.persist is not None and self.mode != "overlay":
            raise bad_request("persist goes with the mode overlay only.")
        if self.persist:
            raise _unsupported("What changes in a copy goes with its session: use the mode rw.")
        if not os.path.isdir(_source(self.path)):
            raise bad_request(f"{self.path} is not a directory of this sandbox.")
        _target(self.path)


class Bind(msgspec.Struct, omit_defaults=True):
    """A path of the sandbox, and where the session sees it."""

    source: str
    dest: str | None = None
    readonly: bool | None = None

    def check(self) -> None:
        """Refuse what makes no sense. Raises: Refusal."""
        if not os.path.exists(_source(self.source)):
            raise bad_request(f"{self.source} is not there.")
        _target(self.dest or self.source)


class Passthrough(msgspec.Struct):
    """Which variables a session gets: only ``keys``, or all but ``keys``."""

    mode: str = "deny"
    keys: list[str] = []


class SessionRequest(msgspec.Struct, omit_defaults=True):
    """The body of ``POST /v1/isolated/session``."""

    workspace: Mount | None = None
    overlays: list[Mount] | None = None
    profile: str | None = None
    extra_writable: list[str] | None = None
    binds: list[Bind] | None = None
    share_net: bool | None = None
    env_passthrough: Passthrough | None = None
    uid: int | None = None
    gid: int | None = None
    uid_mode: str | None = None
    idle_timeout_seconds: int | None = None

    def check(self) -> None:
        """Refuse what makes no sense, or cannot be done here. Raises: Refusal."""
        if not self.mounts:
            raise bad_request("Give a workspace, or overlays.")
        for mount in self.mounts:
            mount.check()
        for bind in self._binds():
            bind.check()
        if len(self.mounts) > _MOST_MOUNTS or len(self._binds()) > _MOST_MOUNTS:
            raise bad_request(f"At most {_MOST_MOUNTS} mounts and as many binds are possible.")
        targets = [os.path.normpath(mount.path) for mount in self.mounts]
        if len(set(targets)) < len(targets):
            raise bad_request("Two overlays have the same path.")
        if self.profile not in (None, "strict", "balanced"):
            raise bad_request("profile must be strict or balanced.")
        if (self.env_passthrough or Passthrough()).mode not in ("allow", "deny"):
            raise bad_request("The mode of env_passthrough must be allow or deny.")
        if not 0 <= self.idle_seconds <= _MOST_SECONDS:
            raise bad_request(f"idle_timeout_seconds must be between 0 and {_MOST_SECONDS}.")
        self._check_user()

    def _check_user(self) -> None:
        if self.uid_mode not in (None, "setpriv", "userns"):
            raise bad_request("uid_mode must be setpriv or userns.")
        for number in (self.uid, self.gid):
            if number is not None and not 0 <= number <= _MAX_ID:
                raise bad_request(f"uid and gid must be between 0 and {_MAX_ID}.")
        own = self.uid in (None, os.geteuid()) and self.gid in (None, os.getegid())
        if not own and self.uid_mode != "userns":
            message = "This sandbox has one user: another uid or gid needs the uid_mode userns."
            raise _unsupported(message)

    @property
    def mounts(self) -> list[Mount]:
        """The workspace, if there is one, and the overlays, whose usual mode is ``overlay``."""
        overlays = [
            msgspec.structs.replace(one, mode=one.mode or "overlay") for one in self.overlays or []
        ]
        return [*([] if self.workspace is None else [self.workspace]), *overlays]

    @property
    def sources(self) -> list[Source]:
        """What the session sees of the sandbox by its own wish."""
        mounts = [(_source(mount.path), mount.mode == "overlay") for mount in self.mounts]
        return [*mounts, *((_source(bind.source), False) for bind in self._binds())]

    @property
    def idle_seconds(self) -> int:
        """How long nothing may be asked before the session ends; 0 for ever."""
        return 1800 if self.idle_timeout_seconds is None else self.idle_timeout_seconds

    def passed(self, env: dict[str, str]) -> dict[str, str]:
        """Return the variables of ``env`` that the session gets."""
        rule = self.env_passthrough or Passthrough()
        if rule.mode == "allow":
            return {k: v for k, v in env.items() if k in rule.keys or k in _ALWAYS_PASSED}
        return {k: v for k, v in env.items() if k not in rule.keys}

    def _binds(self) -> list[Bind]:
        return [*(Bind(path) for path in self.extra_writable or []), *(self.binds or [])]

    def mounted(self) -> Iterator[str]:
        """Return bubblewrap's options for all mounts, shallow ones first."""
        shown = [(mount.path, mount.path, mount.mode == "ro") for mount in self.mounts]
        shown += [(b.source, b.dest or b.source, bool(b.readonly)) for b in self._binds()]
        for source, target, read_only in sorted(shown, key=lambda item: _depth(item[1])):
            yield from ("--ro-bind" if read_only else "--bind", source, os.path.normpath(target))


def options(wanted: SessionRequest, nesting: Nesting, filter_fd: int) -> list[str]:
    """Return bubblewrap's options; ``wanted`` has been checked."""
    uid = os.geteuid() if wanted.uid is None else wanted.uid
    gid = os.getegid() if wanted.gid is None else wanted.gid
    size = str(_SCRATCH_BYTES)
    scratch = [word for path in _SCRATCH for word in ("--size", size, "--tmpfs", path)]
    balanced = wanted.profile == "balanced"
    return [
        *("--unshare-user", "--unshare-all", *(("--share-net",) if wanted.share_net else ())),
        *("--new-session", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "isolated"),
        *("--uid", str(uid), "--gid", str(gid), "--seccomp", str(filter_fd)),
        *(("--ro-bind", "/", "/") if balanced else _system()),
        *("--size", size, "--tmpfs", nesting.clean_proc),
        *scratch,
        *("--proc", "/proc", *nesting.cover_proc, "--dev", "/dev"),
        *("--size", size, "--perms", "1777", "--tmpfs", "/dev/shm"),  # noqa: S108
        *(word for pair in nesting.environment.items() for word in ("--setenv", *pair)),
        *wanted.mounted(),
        *("--remount-ro", "/dev", *(() if balanced else ("--remount-ro", "/"))),
        *("--chdir", wanted.mounts[0].path),
    ]


def _system() -> Iterator[str]:
    for path in _SYSTEM:
        if os.path.islink(path):
            yield from ("--symlink", os.readlink(path), path)
        elif os.path.isdir(path):
            yield from ("--ro-bind", path, path)


def _source(path: str) -> str:
    """Return what ``path`` really is. Raises: Refusal 400 when it must not be shown."""
    if not path.startswith("/") or "\0" in path:
        raise bad_request(f"{path!r} is not an absolute path.")
    real = os.path.realpath(path)
    if real == "/" or any(real == top or real.startswith(f"{top}/") for top in _CLOSED):
        raise bad_request(f"{path} cannot be shown in a session.")
    return real


def _target(path: str) -> None:
    """Refuse a mount point that bubblewrap could not make. Raises: Refusal 400."""
    if not path.startswith("/") or "\0" in path:
        raise bad_request(f"{path!r} is not an absolute path.")
    plain = os.path.normpath(path)
    tops = (*_CLOSED, *_SYSTEM)
    if plain == "/" or any(plain == top or plain.startswith(f"{top}/") for top in tops):
        raise bad_request(f"Nothing can be mounted at {path} of a session.")


def _depth(path: str) -> int:
    return os.path.normpath(path).count("/")


def _unsupported(message: str) -> Refusal:
    return Refusal(503, "NOT_SUPPORTED", message)
